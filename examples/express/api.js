// An API for Mosquitto in Express: three routes, 200 for yes and 401 for no, and one for events.
// Usage: node api.js [PORT]

import { timingSafeEqual } from 'node:crypto';

import express from 'express';

// What `acc` asks for. Mosquitto asks for one thing at a time; 3 is both of the first two.
const WANTED = new Map([
  [1, ['read']],
  [2, ['write']],
  [3, ['read', 'write']],
  [4, ['subscribe']],
]);

// Who may log in, and what each may do where. The passwords are in plain text to keep this readable;
// a real API keeps hashes.
const users = [
  {
    username: 'ann',
    password: 'green',
    acls: [
      { topic: 'users/ann/#', may: ['read', 'write', 'subscribe'] },
      { topic: 'public/#', may: ['read', 'subscribe'] },
    ],
  },
  {
    username: 'ben',
    password: 'blue',
    acls: [
      { topic: 'users/ben/#', may: ['read', 'write', 'subscribe'] },
      { topic: 'public/+', may: ['read', 'write', 'subscribe'] },
    ],
  },
  { username: 'root', password: 'black', isSuperUser: true, acls: [] },
];

const find = (username) => users.find((user) => user.username === username);

// Whether a pattern such as users/ann/# holds for the whole of a topic, or of the filter of a
// subscription: users/ann/+ does not hold for users/ann/#.
function covers(pattern, topic) {
  const levels = topic.split('/');
  // Topics that begin with $ belong to the broker; a wildcard in front does not reach them.
  if (levels[0].startsWith('$') && /^[+#]/.test(pattern)) return false;
  const own = pattern.split('/');
  for (const [nth, level] of own.entries()) {
    if (level === '#') return true;
    if (levels[nth] === undefined || levels[nth] === '#') return false;
    if (level !== '+' && level !== levels[nth]) return false;
  }
  return own.length === levels.length;
}

function mayAccess({ username, topic, acc }) {
  const wanted = WANTED.get(acc);
  if (!wanted || typeof topic !== 'string') return false;
  const acls = find(username)?.acls ?? [];
  return acls.some((acl) => covers(acl.topic, topic) && wanted.every((it) => acl.may.includes(it)));
}

const answer = (response, allowed) => response.sendStatus(allowed ? 200 : 401);

// With API_TOKEN set, only those are answered who send it: http_header_Authorization Bearer …
const token = process.env.API_TOKEN;

function isABroker(request) {
  const given = Buffer.from(request.get('Authorization') ?? '');
  const expected = Buffer.from(`Bearer ${token}`);
  return given.length === expected.length && timingSafeEqual(given, expected);
}

const app = express();
app.use((request, response, next) => {
  if (token === undefined || isABroker(request)) next();
  else response.sendStatus(401);
});
app.use(express.json());

app.post('/user', (request, response) => {
  const { username, password } = request.body ?? {};
  const user = find(username);
  answer(response, user !== undefined && user.password === password);
});

app.post('/superUser', (request, response) => {
  answer(response, find(request.body?.username)?.isSuperUser === true);
});

app.post('/acls', (request, response) => {
  answer(response, mayAccess(request.body ?? {}));
});

// Who came and went, with http_event_route /events.
app.post('/events', (request, response) => {
  const events = request.body?.events;
  if (!Array.isArray(events) || events.includes(null)) return response.sendStatus(400);
  for (const { event, clientid, username, reason } of events) {
    console.log(`${event} ${clientid} of ${username}${reason ? ` (${reason})` : ''}`);
  }
  return response.sendStatus(204);
});

const server = app.listen(Number(process.argv[2] ?? 8000), '127.0.0.1', () => {
  console.log(`listening on port ${server.address().port}`);
});
