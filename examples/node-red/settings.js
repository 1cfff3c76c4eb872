// Node-RED with the flow of this folder, reachable from this machine only.

const path = require('node:path');

module.exports = {
  uiHost: '127.0.0.1',
  uiPort: process.env.PORT || 1880,
  userDir: path.join(__dirname, 'data'),
  flowFile: path.join(__dirname, 'flows.json'),
  // The flow holds no credentials of Node-RED's own kind.
  credentialSecret: false,
  telemetry: { enabled: false, updateNotification: false },
  editorTheme: { tours: false },
  logging: { console: { level: 'info' } },
};
