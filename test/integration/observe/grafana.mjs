// Checks a dashboard against the types that Grafana publishes: makes JSON schemas of the types of
// @grafana/schema, and validates the dashboard, each panel's options and each query by them.
//
//     node grafana.mjs DIRECTORY_WITH_NODE_MODULES DASHBOARD
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import path from "node:path";

const [modules, file] = process.argv.slice(2);
const require = createRequire(path.resolve(modules, "package.json"));
const { createGenerator } = require("ts-json-schema-generator");
const Ajv = require("ajv");
const types = path.resolve(modules, "node_modules/@grafana/schema/dist/types/raw");

// Returns a function that lists the faults of a value of a type. `id` names the value.
function checker(source, type) {
  const schema = createGenerator({ path: path.join(types, source), type, skipTypeCheck: true }).createSchema(type);
  // Grafana's types list most fields of a panel's own settings, but not all of them.
  const ajv = new Ajv({ strict: false, allErrors: true });
  const validate = ajv.compile(schema);
  return (value, id) =>
    validate(value) ? [] : validate.errors.map((error) => `${id}${error.instancePath}: ${error.message} ${JSON.stringify(error.params)}`);
}

const panel = (name) => checker(`composable/${name}/panelcfg/x/types.gen.d.ts`, "Options");
const options = { timeseries: panel("timeseries"), stat: panel("stat"), heatmap: panel("heatmap"), bargauge: panel("bargauge") };
const dashboard = JSON.parse(readFileSync(file, "utf8"));
const faults = checker("dashboard/x/types.gen.d.ts", "Dashboard")(dashboard, "dashboard");

const panels = dashboard.panels.filter((each) => each.type !== "row");
for (const each of panels) {
  const id = `panel ${each.id} (${each.title})`;
  if (options[each.type]) faults.push(...options[each.type](each.options, `${id} options`));
  else faults.push(`${id}: no schema for the type ${each.type}`);
  if (!each.description) faults.push(`${id}: no description`);
  if (!each.targets?.length || each.targets.some((target) => !target.expr)) faults.push(`${id}: no query`);
}

const ids = dashboard.panels.map((each) => each.id);
if (new Set(ids).size !== ids.length) faults.push("two panels have one id");

for (const a of dashboard.panels)
  for (const b of dashboard.panels)
    if (a.id < b.id && overlap(a.gridPos, b.gridPos)) faults.push(`panels ${a.id} and ${b.id} overlap`);

function overlap(a, b) {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

for (const fault of faults) console.log(fault);
console.log(`${panels.length} panels, ${faults.length} faults`);
process.exit(faults.length === 0 ? 0 : 1);
