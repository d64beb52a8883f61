"""Does with the Python client of the JSON gateway what programs do with it, and prints what came of
it. Run with the endpoint as argument; two servers must make it print the same."""

import sys

import etcd3gw


def show(what, *values):
    print(what + ":", *values)


def failing(what, call):
    try:
        show(what, "no error", call())
    except Exception as error:  # pylint: disable=broad-except
        show(what, type(error).__name__, getattr(error, "detail_text", None) is not None)


def keys(client):
    for number in range(6):
        client.put(f"k/{number}", f"value {9 - number}")
    show("get", client.get("k/3"), client.get("nothing"))
    value, metadata = client.get("k/3", metadata=True)[0]
    show("metadata", value, sorted(metadata.items(), key=str))
    show("prefix", client.get_prefix("k/"))
    show("sorted", client.get_prefix("k/", sort_order="descend", sort_target="value"))
    show("all", client.get_all())
    show("create", client.create("k/6", "x"), client.create("k/6", "y"))
    show("replace", client.replace("k/6", "x", "z"), client.replace("k/6", "x", "w"))
    show("delete", client.delete("k/6"), client.delete("k/6"))
    show("delete prefix", client.delete_prefix("k/4"), len(client.get_prefix("k/")))
    show("binary", client.put(b"\x00\xff", b"\xfe" * 100), client.get(b"\x00\xff"))
    failing("no key", lambda: client.put("", "x"))
    failing("too big", lambda: client.put("big", "x" * 1700 * 1024))


def txns(client):
    encoded = etcd3gw.utils._encode  # pylint: disable=protected-access
    reply = client.transaction({
        "compare": [
            {"key": encoded("k/1"), "result": "EQUAL", "target": "VALUE", "value": encoded("value 8")},
            {"key": encoded("none"), "result": "EQUAL", "target": "CREATE", "create_revision": 0},
        ],
        "success": [
            {"request_put": {"key": encoded("t/1"), "value": encoded("a"), "prev_kv": True}},
            {"request_range": {"key": encoded("k/3")}},
            {"request_delete_range": {"key": encoded("k/5")}},
        ],
        "failure": [],
    })
    show("txn", reply["succeeded"], reply["responses"])


def leases(client):
    lease = client.lease(600)
    client.put("l/1", "leased", lease=lease)
    client.put("l/2", "leased", lease=lease)
    show("keys", sorted(lease.keys()), 595 < lease.ttl() <= 600, lease.refresh())
    show("revoke", lease.revoke(), client.get_prefix("l/"))
    failing("revoked", lease.revoke)


def watches(client):
    events, cancel = client.watch_prefix("w/")
    client.put("w/1", "a")
    client.put("w/2", "b")
    client.delete("w/1")
    for _ in range(3):
        event = next(events)
        kv = event["kv"]
        show("event", event.get("type"), kv["key"], kv.get("value"), kv["mod_revision"])
    cancel()
    failing("nothing in time", lambda: client.watch_once("w/none", timeout=1))


def locks(client):
    for _ in range(2):
        with client.lock("lock", ttl=60) as lock:
            show("locked", lock.is_acquired(), client.lock("lock").acquire())
        show("unlocked", lock.is_acquired())


def main():
    host, port = sys.argv[1].split(":")
    client = etcd3gw.client(host=host, port=int(port), api_path="/v3/", timeout=20)
    show("status", client.status()["version"], len(client.members()))
    show("path", etcd3gw.client(host=host, port=int(port)).api_path)
    for part in (keys, txns, leases, watches, locks):
        part(client)


main()
