// Node-RED with the flow of this folder, reachable from this machine only.

const { timingSafeEqual } = require('node:crypto');
const path = require('node:path');

const token = process.env.API_TOKEN;

// With API_TOKEN set, only those are answered who send it: http_header_Authorization Bearer …
function brokersAlone(request, response, next) {
  const given = Buffer.from(request.get('Authorization') ?? '');
  const expected = Buffer.from(`Bearer ${token}`);
  const isABroker = given.length === expected.length && timingSafeEqual(given, expected);
  if (token === undefined || isABroker) next();
  else response.sendStatus(401);
}

module.exports = {
  uiHost: '127.0.0.1',
  uiPort: process.env.PORT || 1880,
  userDir: path.join(__dirname, 'data'),
  httpNodeMiddleware: brokersAlone,
  flowFile: path.join(__dirname, 'flows.json'),
  // The flow holds no credentials of Node-RED's own kind.
  credentialSecret: false,
  telemetry: { enabled: false, updateNotification: false },
  editorTheme: { tours: false },
  logging: { console: { level: 'info' } },
};
