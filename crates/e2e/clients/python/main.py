"""Does with the Python client what programs do with it, and prints what came of it. Run with the
endpoint as argument; two servers must make it print the same."""

import sys
import threading

import etcd3


def show(what, *values):
    print(what + ":", *values)


def failing(what, call):
    try:
        show(what, "no error", call())
    except Exception as error:  # pylint: disable=broad-except
        details = getattr(error, "details", lambda: error)()
        show(what, type(error).__name__, details)


def pair(value, metadata):
    if metadata is None:
        return (value, None)
    numbers = (metadata.create_revision, metadata.mod_revision, metadata.version)
    return (value, metadata.key, *numbers, metadata.lease_id)


def keys(client):
    for number in range(6):
        client.put(f"k/{number}", f"value {9 - number}")
    show("previous", client.put("k/3", "new", prev_kv=True).prev_kv.value)
    show("get", pair(*client.get("k/3")))
    show("nothing", pair(*client.get("nothing")))
    show("prefix", [pair(*found) for found in client.get_prefix("k/")])
    show("range", [pair(*found) for found in client.get_range("k/1", "k/4")])
    by_value = client.get_prefix("k/", sort_order="descend", sort_target="value")
    show("sorted", [pair(*found) for found in by_value])
    show("keys", [pair(*found) for found in client.get_prefix("k/", keys_only=True)])
    show("put if new", client.put_if_not_exists("k/6", "x"), client.put_if_not_exists("k/6", "y"))
    show("replace", client.replace("k/6", "x", "z"), client.replace("k/6", "x", "w"))
    show("delete", client.delete("k/6"), client.delete("k/6"))
    show("delete prefix", client.delete_prefix("k/4").deleted)
    failing("no key", lambda: client.put("", "x"))
    failing("too big", lambda: client.put("big", b"x" * 1700 * 1024))


def txns(client):
    succeeded, replies = client.transaction(
        compare=[
            client.transactions.value("k/1") == "value 8",
            client.transactions.version("k/3") > 1,
            client.transactions.create("k/none") == 0,
        ],
        success=[
            client.transactions.put("t/1", "a"),
            client.transactions.get("k/3"),
            client.transactions.delete("k/5"),
        ],
        failure=[client.transactions.put("t/never", "b")],
    )
    show("txn", succeeded, len(replies), [pair(*found) for found in replies[1]])
    succeeded, replies = client.transaction(
        compare=[client.transactions.mod("k/1") > 1000],
        success=[],
        failure=[client.transactions.get("t/1")],
    )
    show("txn that fails", succeeded, [pair(*found) for found in replies[0]])
    twice = [client.transactions.put("x", "1"), client.transactions.put("x", "2")]
    failing("duplicate", lambda: client.transaction([], twice, []))


def leases(client):
    lease = client.lease(600, lease_id=4711)
    show("lease", lease.id, lease.ttl)
    client.put("l/1", "leased", lease=lease)
    client.put("l/2", "leased", lease=lease)
    show("granted", lease.granted_ttl, sorted(lease.keys))
    show("refreshed", [reply.TTL for reply in lease.refresh()])
    failing("again", lambda: client.lease(60, lease_id=4711))
    lease.revoke()
    show("left", list(client.get_prefix("l/")))
    failing("revoked", lease.revoke)
    show("info", client.get_lease_info(4711).TTL)


def watches(client):
    seen = []
    enough = threading.Event()

    def note(reply):
        for event in reply.events:
            seen.append((type(event).__name__, event.key, event.value, event.prev_value))
        if len(seen) >= 4:
            enough.set()

    watch = client.add_watch_prefix_callback("w/", note, prev_kv=True)
    client.put("w/1", "a")
    client.put("w/1", "b")
    client.put("w/2", "c")
    client.delete_prefix("w/1")
    show("in time", enough.wait(20))
    client.cancel_watch(watch)
    show("seen", seen)
    events, cancel = client.watch_prefix("w/", start_revision=client.get("w/2")[1].mod_revision)
    show("old", next(events).key)
    cancel()


def locks(client):
    # Only one after the other: its waiting does not work with any tenacity for today's Python.
    for _ in range(2):
        with client.lock("lock", ttl=60) as lock:
            show("locked", lock.is_acquired())
        show("unlocked", lock.is_acquired())


def maintenance(client):
    revision = client.put("last", "x").header.revision
    client.compact(revision, physical=True)
    failing("compacted", lambda: next(client.watch("k/1", start_revision=2)[0]))
    failing("compacted again", lambda: client.compact(revision))
    show("hash", client.hash() > 0)
    status = client.status()
    show("status", status.version, status.raft_term, status.leader.id == list(client.members)[0].id)
    show("alarms", list(client.list_alarms()))
    client.defragment()
    with open(sys.argv[2] if len(sys.argv) > 2 else "/dev/null", "wb") as file:
        client.snapshot(file)


def main():
    host, port = sys.argv[1].split(":")
    client = etcd3.client(host=host, port=int(port), timeout=20)
    for part in (keys, txns, leases, watches, locks, maintenance):
        part(client)
    client.close()


main()
