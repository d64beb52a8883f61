// Does with the Node client what main.js leaves out: elections of several, leases that end, watches
// and leases over a line that breaks, transactions that meet, names in namespaces, and users. Run
// with the endpoint as argument; two servers must make it print the same.
'use strict';

const net = require('node:net');
const { once } = require('node:events');
const { Etcd3 } = require('etcd3');

const [endpoint] = process.argv.slice(2);
const show = (what, ...values) => console.log(`${what}:`, JSON.stringify(values));
const connect = (host, options) => new Etcd3({ hosts: `http://${host}`, ...options });

async function failing(what, call) {
  try {
    show(what, 'no error', await call());
  } catch (error) {
    // The server chose the ids of leases.
    show(what, error.constructor.name, error.message.replace(/\d{5,}/, 'ID'));
  }
}

// Polls, for what a server does not tell of by itself.
async function until(what, call) {
  const limit = Date.now() + 30_000;
  while (!(await call())) {
    if (Date.now() > limit) throw new Error(`it is not so that ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function elections(client) {
  const others = [1, 2, 3].map(() => connect(endpoint));
  const elections = others.map((other) => other.election('post', 60));
  const campaigns = [];
  const elected = [];
  for (const [at, election] of elections.entries()) {
    // Each stands in the line before the next one comes.
    campaigns.push(election.campaign(`candidate ${at}`));
    elected.push(campaigns[at].wait());
    const key = await campaigns[at].getCampaignKey();
    await until('it is in the line', async () => (await client.get(key)) !== null);
  }
  await elected[0];
  show('first', await elections[2].leader());
  const watched = await client.election('post', 60).observe();
  await until('it is known who leads', () => watched.leader() === 'candidate 0');
  await campaigns[0].proclaim('still me');
  await until('the new word is heard', () => watched.leader() === 'still me');
  for (const at of [0, 1]) {
    await campaigns[at].resign();
    await elected[at + 1];
    show('next', await elections[0].leader());
    await until('the next one is known', () => watched.leader() === `candidate ${at + 1}`);
  }
  await failing('resigned', () => campaigns[0].proclaim('again'));
  const key = await campaigns[2].getCampaignKey();
  await client.delete().key(key);
  await failing('no key any more', () => campaigns[2].proclaim('again'));
  show('nobody', await elections[0].leader());
  await watched.cancel();
  others.forEach((other) => other.close());
}

async function leases(client) {
  const lease = client.lease(60);
  await lease.grant();
  const lost = once(lease, 'lost');
  await lease.put('leased').value('x');
  await client.leaseClient.leaseRevoke({ ID: await lease.grant() });
  show('gone', await client.get('leased').string());
  await failing('of no lease', () => lease.put('leased').value('y').exec());
  show('lost', (await lost)[0].constructor.name, lease.revoked());
  const short = client.lease(1, { autoKeepAlive: false });
  await short.put('short').value('x');
  const { kvs } = await client.getAll().prefix('short').exec();
  show('has a lease', kvs[0].lease === (await short.grant()));
  await until('it ended', async () => (await client.get('short').string()) === null);
  await failing('ended', () => short.keepaliveOnce());
  const kept = client.lease(1);
  await kept.put('kept').value('x');
  // Kept alive for longer than it would last.
  for (let turn = 0; turn < 4; turn++) await once(kept, 'keepaliveSucceeded');
  show('kept', await client.get('kept').string());
  await kept.revoke();
  show('given back', await client.get('kept').string());
}

// A line to the server that can be cut.
async function startLine() {
  const [host, port] = endpoint.split(':');
  const sockets = new Set();
  const line = net.createServer((client) => {
    const server = net.connect(Number(port), host);
    for (const [one, other] of [[client, server], [server, client]]) {
      sockets.add(one);
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
      one.pipe(other);
    }
  });
  line.listen(0, '127.0.0.1');
  await once(line, 'listening');
  const cut = () => sockets.forEach((socket) => socket.destroy());
  return { host: `127.0.0.1:${line.address().port}`, cut, close: () => (line.close(), cut()) };
}

async function lines(client) {
  const line = await startLine();
  const far = connect(line.host);
  const lease = far.lease(60);
  await lease.put('far/lease').value('x');
  const watcher = await far.watch().prefix('far/').create();
  const seen = [];
  for (const kind of ['put', 'delete']) {
    watcher.on(kind, (kv) => seen.push([kind, kv.key.toString(), kv.version]));
  }
  for (let turn = 0; turn < 3; turn++) {
    await client.put('far/key').value(`before ${turn}`);
    await until('it is seen', () => seen.length === 4 * turn + 1);
    const connected = once(watcher, 'connected');
    line.cut();
    // It hears of these only from the server's memory.
    await client.put('far/key').value(`meanwhile ${turn}`);
    await client.delete().key('far/key');
    await connected;
    await client.put('far/key').value(`after ${turn}`);
    await until('it is seen', () => seen.length === 4 * turn + 4);
  }
  show('seen', seen);
  await until('it is kept again', async () => {
    try {
      return (await lease.keepaliveOnce()).TTL === '60';
    } catch {
      return false;
    }
  });
  show('lease', await client.get('far/lease').string(), lease.revoked());
  far.close();
  line.close();
}

// Each adds to the same number, and begins anew when it was too late.
async function conflicts(client) {
  await client.put('sum').value(0);
  // The client exports no names of these.
  const isolations = { SerializableSnapshot: 0, Serializable: 1, RepeatableReads: 2 };
  for (const [name, isolation] of Object.entries(isolations)) {
    const adders = [1, 2, 3, 4].map((number) =>
      client.stm({ retries: 50, isolation }).transact(async (tx) => {
        await tx.put('sum').value((await tx.get('sum').number()) + number);
      }),
    );
    await Promise.all(adders);
    show(name, await client.get('sum').number());
  }
  await failing('too often', () =>
    client.stm({ retries: 1 }).transact(async (tx) => {
      await tx.get('sum');
      await client.put('sum').value(0);
      await tx.put('sum').value(1);
    }),
  );
}

async function namespaces(client) {
  const inside = client.namespace('in/').namespace('side/');
  await inside.put('a').value('1');
  const lease = inside.lease(60);
  await lease.put('b').value('2');
  show('inside', await inside.getAll().strings(), await client.getAll().prefix('in/').keys());
  const watcher = await inside.watch().prefix('').create();
  const seen = once(watcher, 'put');
  await inside.if('a', 'Value', '==', '1').then(inside.put('a').value('3')).commit();
  show('watched', (await seen)[0].key.toString());
  await watcher.cancel();
  await inside.lock('lock').do(async () => {
    show('locked', await client.getAll().prefix('in/side/lock').keys());
  });
  show('deleted', (await inside.delete().all()).deleted);
  await lease.revoke();
}

async function users(client) {
  const root = await client.user('root').create('secret');
  await root.addRole('root');
  await failing('twice', () => client.user('root').create('other'));
  const role = await client.role('some').create();
  await role.grant({ permission: 'Readwrite', range: client.range({ prefix: 'some/' }) });
  await role.grant({ permission: 'Read', range: client.range('one') });
  show('permissions', await role.permissions());
  const user = await client.user('me').create('word');
  await user.addRole(role);
  await failing('no such role', () => user.addRole('none'));
  await failing('no such user', () => client.user('none').delete());
  show('users', (await client.getUsers()).map(({ name }) => name));
  show('roles', (await user.roles()).map(({ name }) => name));
  await client.auth.authEnable();
  await failing('without a name', () => client.get('one').exec());
  const wrong = connect(endpoint, { auth: { username: 'me', password: 'wrong' } });
  await failing('wrong', () => wrong.get('one').exec());
  const me = connect(endpoint, { auth: { username: 'me', password: 'word' } });
  await me.put('some/key').value('x');
  show('mine', await me.get('some/key').string(), await me.get('one').string());
  await failing('not mine', () => me.put('one').value('x').exec());
  await failing('nor all', () => me.getAll().exec());
  await failing('no root', () => me.getUsers());
  await me.lock('some/lock').do(() => show('lock', 'is held'));
  const watcher = await me.watch().key('some/key').create();
  const seen = once(watcher, 'put');
  await me.put('some/key').value('y');
  show('watched', (await seen)[0].value.toString());
  await watcher.cancel();
  // Its next token is another one, as its next permissions are.
  const boss = connect(endpoint, { auth: { username: 'root', password: 'secret' } });
  const permissions = await boss.role('some').permissions();
  await boss.role('some').revoke(permissions.find(({ permission }) => permission === 'Read'));
  await failing('not mine any more', () => me.get('one').exec());
  await boss.user('me').setPassword('other');
  await failing('another password', () => me.get('some/key').exec());
  const anew = connect(endpoint, { auth: { username: 'me', password: 'other' } });
  show('anew', await anew.get('some/key').string());
  await boss.auth.authDisable();
  for (const one of [wrong, me, anew, boss]) one.close();
  show('off', await client.get('some/key').string());
}

async function main() {
  const client = connect(endpoint);
  for (const part of [elections, leases, lines, conflicts, namespaces, users]) {
    await part(client);
  }
  client.close();
  // Whatever the client still waits for, all is printed.
  process.exit(0);
}

main().catch((error) => {
  console.log('failed:', error);
  process.exit(1);
});
