// Speaks to the JSON gateway with what Node brings along: fetch, and a WebSocket where there is one.
// Run with the endpoint as argument; two servers must make it print the same.
'use strict';

const [endpoint] = process.argv.slice(2);
const url = (path) => `http://${endpoint}/v3/${path}`;
const base64 = (text) => Buffer.from(text).toString('base64');
// Each build of Go's protobuf has its own taste in spaces.
const settled = (text) => text.replaceAll('\u00a0', ' ');
const show = (what, ...values) => console.log(`${what}:`, settled(JSON.stringify(values)));

async function post(path, body) {
  const reply = await fetch(url(path), { method: 'POST', body: JSON.stringify(body) });
  const { header, ...rest } = await reply.json();
  show(path, reply.status, header?.revision, rest);
}

// The first lines of a stream, which is then given up.
async function lines(path, body, count) {
  const giveUp = new AbortController();
  const options = { method: 'POST', body, signal: giveUp.signal };
  const reply = await fetch(url(path), options);
  let text = '';
  const decoder = new TextDecoder();
  for await (const part of reply.body) {
    text += decoder.decode(part, { stream: true });
    if (text.split('\n').length > count) break;
  }
  giveUp.abort();
  text.split('\n').slice(0, count).forEach((line) => show(path, JSON.parse(line)));
}

function messages(path, said, count) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${endpoint}/v3/${path}`);
    let seen = 0;
    socket.onopen = () => said.forEach((text) => socket.send(text));
    socket.onerror = reject;
    socket.onmessage = ({ data }) => {
      show(path, JSON.parse(data));
      seen += 1;
      if (seen === count) socket.close();
    };
    socket.onclose = resolve;
  });
}

async function main() {
  const key = base64('k');
  await post('kv/put', { key, value: base64('v\u00fc') });
  await post('kv/range', { key, count_only: true });
  await post('kv/range', { key: 7 });
  await post('kv/nothing', {});
  await post('lease/grant', { ID: 77, TTL: 5000 });
  const create = JSON.stringify({ create_request: { key, start_revision: 1 } });
  await lines('watch', create, 2);
  await lines('lease/keepalive', '{"ID":77}\n{"ID":78}\n', 2);
  if (typeof WebSocket === 'undefined') return;
  await messages('watch', [create], 2);
  await messages('lease/keepalive', ['{"ID":77}', '{"ID":78}'], 2);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
