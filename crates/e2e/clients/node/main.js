// Does with the Node client what programs do with it, and prints what came of it. Run with the
// endpoint as argument; two servers must make it print the same.
'use strict';

const { Etcd3 } = require('etcd3');

const show = (what, ...values) => console.log(`${what}:`, JSON.stringify(values));

async function failing(what, call) {
  try {
    show(what, 'no error', await call());
  } catch (error) {
    // The server chose the ids of leases.
    show(what, error.constructor.name, error.message.replace(/\d{5,}/, 'ID'));
  }
}

async function keys(client) {
  for (let number = 0; number < 6; number++) {
    await client.put(`k/${number}`).value(`value ${9 - number}`);
  }
  const put = await client.put('k/3').value('new').getPrevious();
  show('previous', put.value.toString(), put.mod_revision);
  show('get', await client.get('k/3').string());
  show('nothing', await client.get('nothing').string());
  show('all', await client.getAll().prefix('k/').strings());
  show('keys', await client.getAll().prefix('k/').keys());
  show('limit', await client.getAll().prefix('k/').limit(2).strings());
  show('sorted', await client.getAll().prefix('k/').sort('Value', 'Descend').keys());
  show('count', await client.getAll().prefix('k/').count());
  show('revision', await client.get('k/3').revision(5).string());
  show('range', await client.getAll().inRange({ start: 'k/1', end: 'k/4' }).strings());
  const inside = client.namespace('inside/');
  await inside.put('a').value('b');
  show('namespace', await inside.getAll().strings(), await client.get('inside/a').string());
  show('delete', (await client.delete().key('k/5')).deleted);
  show('delete range', (await client.delete().range({ start: 'k/4', end: 'k/9' })).deleted);
  await failing('no key', () => client.put('').value('x').exec());
  await failing('too big', () => client.put('big').value('x'.repeat(1700 * 1024)).exec());
}

async function txns(client) {
  const reply = await client
    .if('k/1', 'Value', '==', 'value 8')
    .and('k/3', 'Version', '>', 1)
    .and('none', 'Create', '==', 0)
    .then(client.put('t/1').value('a'), client.get('k/3'), client.delete().key('k/2'))
    .else(client.put('t/never').value('b'))
    .commit();
  show('txn', reply.succeeded, reply.responses.map((one) => one.response));
  const failed = await client
    .if('k/1', 'Mod', '>', 1000)
    .then()
    .else(client.get('t/1'))
    .commit();
  show('txn that fails', failed.succeeded, failed.responses.length);
  await client.stm().transact(async (tx) => {
    await tx.put('sum').value((await tx.get('t/1').string()) + (await tx.get('k/1').string()));
  });
  show('stm', await client.get('sum').string());
}

async function leases(client) {
  const lease = client.lease(600, { autoKeepAlive: false });
  await lease.put('l/1').value('leased');
  await lease.put('l/2').value('leased');
  show('alive', (await lease.keepaliveOnce()).TTL);
  await lease.revoke();
  show('left', await client.getAll().prefix('l/').keys());
  await failing('revoked', () => lease.keepaliveOnce());
}

async function watches(client) {
  const watcher = await client.watch().prefix('w/').withPreviousKV().create();
  const seen = [];
  const enough = new Promise((resolve) => {
    const note = (kind) => (kv, previous) => {
      seen.push([kind, kv.key.toString(), kv.value.toString(), previous && previous.value.toString()]);
      if (seen.length === 4) resolve();
    };
    watcher.on('put', note('put'));
    watcher.on('delete', note('delete'));
  });
  await client.put('w/1').value('a');
  await client.put('w/1').value('b');
  await client.put('w/2').value('c');
  await client.delete().key('w/1');
  await enough;
  show('seen', seen);
  await watcher.cancel();
  // Heard from its beginning: the first event comes right behind the answer to its creation.
  const old = client.watch().prefix('w/').startRevision('1').watcher();
  show('old', await new Promise((resolve) => old.once('put', (kv) => resolve(kv.key.toString()))));
  await old.cancel();
}

// The counter is only right if nobody else holds the lock between its get and its put.
async function locks(client) {
  await Promise.all(
    [1, 2, 3].map(async () => {
      for (let turn = 0; turn < 3; turn++) {
        for (;;) {
          const lock = client.lock('lock').ttl(60);
          try {
            await lock.acquire();
          } catch {
            continue;
          }
          const value = (await client.get('counter').number()) || 0;
          await client.put('counter').value(value + 1);
          await lock.release();
          break;
        }
      }
    }),
  );
  show('counted', await client.get('counter').number());
  const campaign = client.election('election', 60).campaign('me');
  await new Promise((resolve) => campaign.on('elected', resolve));
  show('leader', await client.election('election', 60).leader());
  await campaign.resign();
}

async function maintenance(client) {
  const { header } = await client.put('last').value('x');
  await client.kv.compact({ revision: header.revision, physical: true });
  await failing('compacted', () => client.get('k/1').revision(3).exec());
  const status = await client.maintenance.status();
  show('status', status.version, status.raftTerm);
  show('alarms', (await client.maintenance.alarm({ action: 'Get' })).alarms);
  await client.maintenance.defragment();
}

async function main() {
  const client = new Etcd3({ hosts: `http://${process.argv[2]}` });
  for (const part of [keys, txns, leases, watches, locks, maintenance]) {
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
