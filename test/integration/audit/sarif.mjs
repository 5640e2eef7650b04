// Checks a SARIF file against the schema of SARIF 2.1.0 that an npm package of Microsoft carries.
//
//     node sarif.mjs DIRECTORY FILE
//
// DIRECTORY has the node_modules with @microsoft/jest-sarif and ajv.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const [directory, file] = process.argv.slice(2);
const require = createRequire(join(resolve(directory), "package.json"));
const { default: Ajv } = await import(require.resolve("ajv-draft-04"));
const addFormats = require("ajv-formats");
const path = join(resolve(directory), "node_modules/@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json");
const schema = JSON.parse(readFileSync(path, "utf8"));

const ajv = new Ajv({ allErrors: true, strict: false, unicodeRegExp: false });
addFormats(ajv);
const validate = ajv.compile(schema);
const log = JSON.parse(readFileSync(file, "utf8"));

if (!validate(log)) {
  for (const error of validate.errors) console.error(`${error.instancePath || "/"} ${error.message}`);
  process.exit(1);
}

// The schema does not say so, but services refuse a result whose rule they cannot find.
for (const run of log.runs)
  for (const result of run.results)
    if (run.tool.driver.rules[result.ruleIndex].id !== result.ruleId) {
      console.error(`ruleIndex of ${result.ruleId} is wrong`);
      process.exit(1);
    }

console.log(`${log.runs[0].results.length} results, ${log.runs[0].tool.driver.rules.length} rules`);
