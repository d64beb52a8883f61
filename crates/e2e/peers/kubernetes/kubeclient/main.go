// Does with a kube-apiserver what controllers and people do with it, by the thousand, and checks
// what comes back. Run with the server's URL and the files of an authority, a certificate and its
// key.
//
// It prints a line for each part that is done, and ends with status 1 at the first thing that is
// not as it should be. Whoever runs it may kill members of the store at any line that begins with
// "half": writes are tried again and watches are resumed, as clients of Kubernetes do, and nothing
// may be lost, doubled or out of order.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

const (
	namespace = "e2e"
	elsewhere = "e2e-old"
	objects   = 1000
	writers   = 8
)

// The server keeps configmaps and widgets in its watch cache. It is started without one for
// secrets, so lists and watches of those go to the store.
var (
	namespaces  = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	configmaps  = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	secrets     = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	events      = schema.GroupVersionResource{Version: "v1", Resource: "events"}
	widgets     = schema.GroupVersionResource{Group: "e2e.test", Version: "v1", Resource: "widgets"}
	definitions = schema.GroupVersionResource{
		Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions",
	}
)

// A session is a client of one server.
type session struct {
	ctx     context.Context
	objects dynamic.Interface
	raw     rest.Interface

	failures atomic.Int64

	// When a write ended last, and the longest time between two.
	mutex   sync.Mutex
	written time.Time
	longest time.Duration
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	s := connect(ctx)
	s.waitUntilReady()
	for _, name := range []string{namespace, elsewhere} {
		s.create(namespaces, "", object("v1", "Namespace", name))
	}
	s.define()
	old := s.remember(secrets)
	s.comeAndGo()
	s.work(configmaps, "v1", "ConfigMap")
	s.work(secrets, "v1", "Secret")
	s.work(widgets, "e2e.test/v1", "Widget")
	s.haveGone()
	s.isCompacted(old)
	s.requests()
}

func connect(ctx context.Context) *session {
	config := &rest.Config{
		Host: os.Args[1],
		TLSClientConfig: rest.TLSClientConfig{
			CAFile: os.Args[2], CertFile: os.Args[3], KeyFile: os.Args[4],
		},
		QPS:     -1,
		Timeout: 0,
	}
	objects, err := dynamic.NewForConfig(config)
	must(err)
	raw, err := discovery.NewDiscoveryClientForConfig(config)
	must(err)
	return &session{ctx: ctx, objects: objects, raw: raw.RESTClient()}
}

func must(err error) {
	if err != nil {
		fail("%v (%T)", err, err)
	}
}

func fail(format string, values ...any) {
	fmt.Printf("wrong: "+format+"\n", values...)
	os.Exit(1)
}

// eventually asks until there is an answer.
func (s *session) eventually(what string, limit time.Duration, ask func() error) time.Duration {
	start := time.Now()
	for {
		err := ask()
		took := time.Since(start)
		if err == nil {
			return took
		}
		if took > limit {
			fail("%s: not within %v: %v", what, limit, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (s *session) get(path string) (string, error) {
	ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
	defer cancel()
	body, err := s.raw.Get().RequestURI(path).DoRaw(ctx)
	return string(body), err
}

func (s *session) waitUntilReady() {
	var checks string
	took := s.eventually("ready", 90*time.Second, func() (err error) {
		checks, err = s.get("/readyz?verbose")
		return err
	})
	for _, check := range []string{"[+]etcd ok", "[+]etcd-readiness ok"} {
		if !strings.Contains(checks, check) {
			fail("no %q in %s", check, checks)
		}
	}
	fmt.Printf("ready after %v\n", took.Round(10*time.Millisecond))
}

func object(version, kind, name string) *unstructured.Unstructured {
	it := &unstructured.Unstructured{}
	it.SetAPIVersion(version)
	it.SetKind(kind)
	it.SetName(name)
	return it
}

// resource is where objects are; in no namespace if it is empty.
func (s *session) resource(of schema.GroupVersionResource, in string) dynamic.ResourceInterface {
	if in == "" {
		return s.objects.Resource(of)
	}
	return s.objects.Resource(of).Namespace(in)
}

func (s *session) create(of schema.GroupVersionResource, in string, it *unstructured.Unstructured) {
	_, err := s.resource(of, in).Create(s.ctx, it, v1.CreateOptions{})
	must(err)
}

// define tells the server of a kind of object that it does not know.
func (s *session) define() {
	kind := object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "widgets.e2e.test")
	kind.Object["spec"] = map[string]any{
		"group": widgets.Group,
		"scope": "Namespaced",
		"names": map[string]any{
			"plural": widgets.Resource, "singular": "widget", "kind": "Widget",
		},
		"versions": []any{map[string]any{
			"name": widgets.Version, "served": true, "storage": true,
			"schema": map[string]any{"openAPIV3Schema": map[string]any{
				"type":                                 "object",
				"x-kubernetes-preserve-unknown-fields": true,
			}},
		}},
	}
	s.create(definitions, "", kind)
	s.eventually("widgets", 30*time.Second, func() error {
		_, err := s.resource(widgets, namespace).List(s.ctx, v1.ListOptions{})
		return err
	})
	fmt.Println("widgets are defined")
}

// requests shows what the server has asked its store for.
func (s *session) requests() {
	text, err := s.get("/metrics")
	must(err)
	counts, sums := map[string]float64{}, map[string]float64{}
	var size float64
	for line := range strings.Lines(text) {
		name, value := "", 0.0
		if _, err := fmt.Sscanf(line, "%s %g", &name, &value); err != nil {
			continue
		}
		name, labels, _ := strings.Cut(name, "{")
		_, operation, _ := strings.Cut(labels, `operation="`)
		operation, _, _ = strings.Cut(operation, `"`)
		switch name {
		case "etcd_request_duration_seconds_count":
			counts[operation] += value
		case "etcd_request_duration_seconds_sum":
			sums[operation] += value
		case "apiserver_storage_size_bytes":
			size = value
		}
	}
	for _, operation := range sorted(counts) {
		count := counts[operation]
		fmt.Printf("store: %-28s %6.0f, %7.2f ms each\n", operation, count,
			sums[operation]/count*1000)
	}
	if counts["listStream"] == 0 || counts["create"] == 0 || size == 0 {
		fail("no list was streamed, or nothing created, or the store's size is not known")
	}
}
