// Does with etcd's own client what programs do with it, and prints what came of it. Run with the
// endpoint as argument; two servers must make it print the same.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/clientv3util"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/ordering"
)

func main() {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            []string{os.Args[1]},
		DialTimeout:          10 * time.Second,
		DialKeepAliveTime:    time.Second,
		DialKeepAliveTimeout: 10 * time.Second,
	})
	must(err)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	keys(ctx, client)
	txns(ctx, client)
	leases(ctx, client)
	watches(ctx, client)
	errors(ctx, client)
	wrappers(ctx, client)
	locks(ctx, client)
	maintenance(ctx, client)
	must(client.Close())
}

func must(err error) {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func show(what string, value any, err error) {
	text, failed := json.Marshal(value)
	must(failed)
	fmt.Printf("%s: %s", what, text)
	if err != nil {
		fmt.Printf(" (%T: %v)", err, err)
	}
	fmt.Println()
}

func keys(ctx context.Context, c *clientv3.Client) {
	for i := range 10 {
		put, err := c.Put(ctx, fmt.Sprintf("k/%d", i), fmt.Sprintf("value %d", 9-i))
		show("put", put, err)
	}
	put, err := c.Put(ctx, "k/3", "new", clientv3.WithPrevKV())
	show("put with the previous", put, err)
	for _, options := range options() {
		get, err := c.Get(ctx, options.key, options.options...)
		show(options.name, get, err)
	}
	stream, err := c.GetStream(ctx, "k/", clientv3.WithPrefix())
	must(err)
	streamed, err := clientv3.GetStreamToGetResponse(stream)
	show("streamed", streamed, err)
	del, err := c.Delete(ctx, "k/7", clientv3.WithFromKey(), clientv3.WithPrevKV())
	show("delete", del, err)
	_, err = c.Compact(ctx, 5, clientv3.WithCompactPhysical())
	show("compact", nil, err)
	_, err = c.Get(ctx, "k/1", clientv3.WithRev(3))
	show("get what is compacted", nil, err)
}

type option struct {
	name    string
	key     string
	options []clientv3.OpOption
}

func options() []option {
	return []option{
		{"get", "k/1", nil},
		{"get nothing", "nothing", nil},
		{"prefix", "k/", []clientv3.OpOption{clientv3.WithPrefix()}},
		{"limit", "k/", []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithLimit(3)}},
		{"serializable", "k/2", []clientv3.OpOption{clientv3.WithSerializable()}},
		{"sorted", "k/", []clientv3.OpOption{
			clientv3.WithPrefix(),
			clientv3.WithSort(clientv3.SortByValue, clientv3.SortDescend),
		}},
		{"last revision", "k/", clientv3.WithLastRev()},
		{"first create", "k/", clientv3.WithFirstCreate()},
		{"count", "k/", []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithCountOnly()}},
		{"keys", "k/", []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithKeysOnly()}},
		{"at a revision", "k/", []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithRev(4)}},
		{"changed since", "k/", []clientv3.OpOption{
			clientv3.WithPrefix(), clientv3.WithMinModRev(10),
		}},
		{"beyond the end", "k/", []clientv3.OpOption{clientv3.WithRev(1000)}},
	}
}

func txns(ctx context.Context, c *clientv3.Client) {
	reply, err := c.Txn(ctx).
		If(clientv3util.KeyExists("k/1"), clientv3.Compare(clientv3.Value("k/2"), "=", "value 7")).
		Then(clientv3.OpPut("t/1", "a"), clientv3.OpGet("k/", clientv3.WithPrefix()),
			clientv3.OpDelete("k/6"), clientv3.OpTxn(
				[]clientv3.Cmp{clientv3util.KeyMissing("t/2")},
				[]clientv3.Op{clientv3.OpPut("t/2", "b")}, nil)).
		Else(clientv3.OpPut("t/never", "c")).
		Commit()
	show("txn", reply, err)
	reply, err = c.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision("t/").WithPrefix(), ">", 1000)).
		Else(clientv3.OpGet("t/2")).Commit()
	show("txn that fails", reply, err)
	_, err = c.Txn(ctx).Then(clientv3.OpPut("x", "1"), clientv3.OpPut("x", "2")).Commit()
	show("txn with a duplicate", nil, err)
	tooMany := make([]clientv3.Op, 200)
	for i := range tooMany {
		tooMany[i] = clientv3.OpPut(fmt.Sprint("many/", i), "")
	}
	_, err = c.Txn(ctx).Then(tooMany...).Commit()
	show("txn with too many", nil, err)
	replied, err := concurrency.NewSTM(c, func(stm concurrency.STM) error {
		stm.Put("sum", stm.Get("t/1")+stm.Get("t/2"))
		return nil
	})
	show("stm", replied.Succeeded, err)
	sum, err := c.Get(ctx, "sum")
	show("sum", sum.Kvs, err)
}

func leases(ctx context.Context, c *clientv3.Client) {
	lease, err := c.Grant(ctx, 600)
	show("granted", lease.TTL, err)
	for i := range 3 {
		_, err = c.Put(ctx, fmt.Sprint("l/", i), "leased", clientv3.WithLease(lease.ID))
		must(err)
	}
	kept, cancel := context.WithCancel(ctx)
	alive, err := c.KeepAlive(kept, lease.ID)
	must(err)
	renewed := <-alive
	cancel()
	show("renewed", renewed.TTL, nil)
	once, err := c.KeepAliveOnce(ctx, lease.ID)
	show("renewed once", once.TTL, err)
	ttl, err := c.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys())
	sort.Slice(ttl.Keys, func(i, j int) bool { return string(ttl.Keys[i]) < string(ttl.Keys[j]) })
	show("ttl", fmt.Sprintf("%d %q", ttl.GrantedTTL, ttl.Keys), err)
	all, err := c.Leases(ctx)
	show("leases", len(all.Leases), err)
	_, err = c.Revoke(ctx, lease.ID)
	show("revoked", nil, err)
	left, err := c.Get(ctx, "l/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	show("left", left.Count, err)
	_, err = c.Revoke(ctx, lease.ID)
	show("revoked again", nil, err)
	_, err = c.KeepAliveOnce(ctx, lease.ID)
	show("renewed again", nil, err)
	ttl, err = c.TimeToLive(ctx, lease.ID)
	show("ttl again", ttl.TTL, err)
}

func watches(ctx context.Context, c *clientv3.Client) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	now, err := c.Get(ctx, "w")
	must(err)
	next := now.Header.Revision + 1
	all := c.Watch(ctx, "w/", clientv3.WithPrefix(), clientv3.WithRev(next), clientv3.WithPrevKV())
	deletes := c.Watch(ctx, "w/", clientv3.WithPrefix(), clientv3.WithRev(next), clientv3.WithFilterPut())
	created := <-c.Watch(ctx, "w/", clientv3.WithCreatedNotify())
	show("created", created.Created, created.Err())
	for i := range 5 {
		_, err = c.Put(ctx, fmt.Sprint("w/", i%2), fmt.Sprint(i))
		must(err)
	}
	_, err = c.Delete(ctx, "w/", clientv3.WithPrefix())
	must(err)
	events("all", all, 7)
	events("deletes", deletes, 2)
	old := c.Watch(ctx, "k/", clientv3.WithPrefix(), clientv3.WithRev(10))
	events("old", old, 3)
	compacted := <-c.Watch(ctx, "k/", clientv3.WithPrefix(), clientv3.WithRev(2))
	show("compacted", compacted.CompactRevision, compacted.Err())
	must(c.RequestProgress(ctx))
}

func events(what string, from clientv3.WatchChan, count int) {
	for count > 0 {
		reply, open := <-from
		if !open {
			show(what, "closed", nil)
			return
		}
		must(reply.Err())
		// How many come in one reply is up to the server.
		for _, event := range reply.Events[:min(count, len(reply.Events))] {
			show(what, event, nil)
			count--
		}
	}
}

func errors(ctx context.Context, c *clientv3.Client) {
	_, err := c.Put(ctx, "", "no key")
	show("no key", nil, err)
	_, err = c.Put(ctx, "k", "v", clientv3.WithLease(12345))
	show("no lease", nil, err)
	_, err = c.Put(ctx, "absent", "", clientv3.WithIgnoreValue())
	show("no value", nil, err)
	_, err = c.Put(ctx, "big", string(make([]byte, 1800*1024)))
	show("too big", nil, err)
	_, err = c.Compact(ctx, 100000)
	show("compact the future", nil, err)
	short, cancel := context.WithTimeout(ctx, time.Nanosecond)
	_, err = c.Get(short, "k")
	show("too late", nil, err)
	cancel()
}

func wrappers(ctx context.Context, c *clientv3.Client) {
	inside := namespace.NewKV(c.KV, "inside/")
	_, err := inside.Put(ctx, "a", "1")
	must(err)
	get, err := inside.Get(ctx, "", clientv3.WithPrefix())
	show("namespace", get.Kvs, err)
	ordered := ordering.NewKV(c.KV, func(clientv3.Op, clientv3.OpResponse, int64) error { return nil })
	get, err = ordered.Get(ctx, "inside/a")
	show("ordering", get.Kvs, err)
	leased, done, err := leasing.NewKV(c, "leasing/")
	must(err)
	for range 2 {
		get, err = leased.Get(ctx, "inside/a")
		show("leasing", string(get.Kvs[0].Value), err)
	}
	_, err = leased.Put(ctx, "inside/a", "2")
	show("leasing put", nil, err)
	done()
	base, failed := mirror.NewSyncer(c, "k/", 0).SyncBase(ctx)
	for reply := range base {
		show("mirrored", len(reply.Kvs), nil)
	}
	show("mirror", nil, <-failed)
}

// The counter is only right if nobody else holds the lock between its get and its put.
func locks(ctx context.Context, c *clientv3.Client) {
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			session, err := concurrency.NewSession(c, concurrency.WithTTL(60))
			must(err)
			mutex := concurrency.NewMutex(session, "lock/")
			for range 5 {
				must(mutex.Lock(ctx))
				get, err := c.Get(ctx, "counter")
				must(err)
				value := 0
				if len(get.Kvs) > 0 {
					fmt.Sscan(string(get.Kvs[0].Value), &value)
				}
				_, err = c.Put(ctx, "counter", fmt.Sprint(value+1))
				must(err)
				must(mutex.Unlock(ctx))
			}
			must(session.Close())
		})
	}
	wait.Wait()
	get, err := c.Get(ctx, "counter")
	show("counter", string(get.Kvs[0].Value), err)
	session, err := concurrency.NewSession(c, concurrency.WithTTL(60))
	must(err)
	election := concurrency.NewElection(session, "election")
	must(election.Campaign(ctx, "me"))
	leader, err := election.Leader(ctx)
	show("leader", string(leader.Kvs[0].Value), err)
	must(election.Proclaim(ctx, "still me"))
	observed := <-election.Observe(ctx)
	show("observed", string(observed.Kvs[0].Value), nil)
	must(election.Resign(ctx))
	must(session.Close())
}

func maintenance(ctx context.Context, c *clientv3.Client) {
	endpoint := c.Endpoints()[0]
	status, err := c.Status(ctx, endpoint)
	show("status", fmt.Sprint(status.Version, status.IsLearner, status.Errors, status.DbSize > 0), err)
	members, err := c.MemberList(ctx)
	show("members", len(members.Members), err)
	alarms, err := c.AlarmList(ctx)
	show("alarms", alarms.Alarms, err)
	_, err = c.Defragment(ctx, endpoint)
	show("defragment", nil, err)
	snapshot, err := c.SnapshotWithVersion(ctx)
	must(err)
	block, size := make([]byte, 65536), 0
	for err == nil {
		var read int
		read, err = snapshot.Snapshot.Read(block)
		size += read
	}
	// Whole pages and the hash behind them.
	show("snapshot", size%512, err)
	must(snapshot.Snapshot.Close())
}
