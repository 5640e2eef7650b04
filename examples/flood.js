// Floods an endpoint behind a gate, by k6: k6 run -e URL=http://localhost:4000/ examples/flood.js
//
// The rate does not depend on the answers, as that of real clients. An endpoint that is behind a gate
// answers all of them: some with its page, the others with 429 or 503, and none with an error.
import http from 'k6/http'
import { check } from 'k6'
import { Rate, Trend } from 'k6/metrics'

const admitted = new Rate('admitted')
const page = new Trend('page_ms', true)

http.setResponseCallback(http.expectedStatuses(200, 429, 503))

export const options = {
  scenarios: {
    flood: {
      executor: 'constant-arrival-rate',
      rate: 2000,
      timeUnit: '1s',
      duration: '30s',
      preAllocatedVUs: 500,
      maxVUs: 2000,
    },
  },
  thresholds: {
    http_req_failed: ['rate<0.001'],
    page_ms: ['p(99)<500'],
    admitted: ['rate>0.1'],
  },
}

export default function () {
  const answer = http.get(__ENV.URL)
  admitted.add(answer.status === 200)
  if (answer.status === 200) page.add(answer.timings.duration)
  check(answer, { 'says when to come back': (a) => a.status === 200 || a.headers['Retry-After'] !== undefined })
}
