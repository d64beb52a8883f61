//go:build tools

// Package peers names the programs to build, so that go.mod keeps their versions. It is never
// compiled itself.
package peers

import (
	_ "go.etcd.io/bbolt/cmd/bbolt"
	_ "go.etcd.io/etcd/etcdctl/v3"
	_ "go.etcd.io/etcd/etcdutl/v3"
	_ "go.etcd.io/etcd/server/v3"
)
