package main

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
)

// A shift is one kind of object under work: what is there now, and all that became of it.
type shift struct {
	*session
	name    string
	version string
	kind    string
	objects dynamic.ResourceInterface

	mutex   sync.Mutex
	current map[string]*unstructured.Unstructured
	ledger  map[string][]change
	half    atomic.Int64
}

// A change of an object, with the revision if it is known: a delete does not tell it.
type change struct {
	kind     watch.EventType
	revision string
}

// work creates, lists, updates and deletes objects while a watcher looks on.
func (s *session) work(of schema.GroupVersionResource, version, kind string) {
	w := &shift{
		session: s, name: of.Resource, version: version, kind: kind,
		objects: s.resource(of, namespace),
		current: map[string]*unstructured.Unstructured{}, ledger: map[string][]change{},
	}
	first, err := w.objects.List(s.ctx, v1.ListOptions{Limit: 1})
	must(err)
	watcher := follow(w, first.GetResourceVersion())
	names := make([]string, objects)
	for i := range names {
		names[i] = fmt.Sprintf("object-%05d", i)
	}
	w.inParallel("created", names, w.add)
	before := w.pages()
	w.inParallel("updated", names[:objects/2], w.change)
	w.everything()
	w.asItWas(before)
	w.inParallel("deleted", names[objects/4:objects/2], w.remove)
	w.removeAll()
	watcher.compare()
}

// inParallel does something with each of these and tells how quickly that went. In the middle it
// says so: a good time to take something away from the store.
func (w *shift) inParallel(what string, names []string, do func(name string)) {
	start := time.Now()
	failures := w.failures.Load()
	w.written, w.longest = start, 0
	queue := make(chan string)
	var done atomic.Int64
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for name := range queue {
				do(name)
				if done.Add(1) == int64(len(names)/2) {
					fmt.Printf("half of the %s are %s\n", w.name, what)
				}
			}
		})
	}
	for _, name := range names {
		queue <- name
	}
	close(queue)
	group.Wait()
	took := time.Since(start)
	fmt.Printf("%s: %d %s in %.2f s, %.0f/s; no write for %v; %d tries failed\n", w.name,
		len(names), what, took.Seconds(), float64(len(names))/took.Seconds(),
		w.longest.Round(time.Millisecond), w.failures.Load()-failures)
}

// insist tries again while the server, or the store behind it, is at fault. It says whether an
// earlier try may have had an effect.
func (w *shift) insist(do func() error) (retried bool, err error) {
	deadline := time.Now().Add(30 * time.Second)
	for {
		err = do()
		if err == nil || !isFault(err) || time.Now().After(deadline) {
			w.hasWritten()
			return retried, err
		}
		retried = true
		w.failures.Add(1)
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *session) hasWritten() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	now := time.Now()
	s.longest = max(s.longest, now.Sub(s.written))
	s.written = now
}

func isFault(err error) bool {
	status, ok := err.(apierrors.APIStatus)
	return ok && (status.Status().Code >= 500 || status.Status().Code == http.StatusTooManyRequests)
}

func (w *shift) add(name string) {
	it := object(w.version, w.kind, name)
	it.SetLabels(map[string]string{"part": "load"})
	it.Object["data"] = map[string]any{"count": value(w.kind, "0"), "bulk": bulk}
	var made *unstructured.Unstructured
	retried, err := w.insist(func() (err error) {
		made, err = w.objects.Create(w.ctx, it, v1.CreateOptions{})
		return err
	})
	if retried && apierrors.IsAlreadyExists(err) {
		_, err = w.insist(func() (err error) {
			made, err = w.objects.Get(w.ctx, name, v1.GetOptions{})
			return err
		})
	}
	must(err)
	w.note(made, change{watch.Added, made.GetResourceVersion()})
}

func (w *shift) change(name string) {
	w.mutex.Lock()
	it := w.current[name].DeepCopy()
	w.mutex.Unlock()
	count := value(w.kind, "1")
	must(unstructured.SetNestedField(it.Object, count, "data", "count"))
	var made *unstructured.Unstructured
	retried, err := w.insist(func() (err error) {
		made, err = w.objects.Update(w.ctx, it, v1.UpdateOptions{})
		return err
	})
	if retried && apierrors.IsConflict(err) {
		_, err = w.insist(func() (err error) {
			made, err = w.objects.Get(w.ctx, name, v1.GetOptions{})
			return err
		})
	}
	must(err)
	if got, _, _ := unstructured.NestedString(made.Object, "data", "count"); got != count {
		fail("%s %s has the count %q after an update", w.name, name, got)
	}
	w.note(made, change{watch.Modified, made.GetResourceVersion()})
}

func (w *shift) remove(name string) {
	retried, err := w.insist(func() error {
		return w.objects.Delete(w.ctx, name, v1.DeleteOptions{})
	})
	if !retried || !apierrors.IsNotFound(err) {
		must(err)
	}
	w.forget(name)
}

// removeAll deletes what is left with a single request.
func (w *shift) removeAll() {
	start := time.Now()
	_, err := w.insist(func() error {
		return w.objects.DeleteCollection(w.ctx, v1.DeleteOptions{}, v1.ListOptions{
			LabelSelector: "part=load",
		})
	})
	must(err)
	left, err := w.objects.List(w.ctx, v1.ListOptions{LabelSelector: "part=load"})
	must(err)
	if len(left.Items) != 0 {
		fail("%d %s are left", len(left.Items), w.name)
	}
	count := len(w.current)
	for _, name := range sorted(w.current) {
		w.forget(name)
	}
	fmt.Printf("%s: %d deleted at once in %.2f s\n", w.name, count, time.Since(start).Seconds())
}

func (w *shift) note(it *unstructured.Unstructured, change change) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.current[it.GetName()] = it
	w.ledger[it.GetName()] = append(w.ledger[it.GetName()], change)
}

func (w *shift) forget(name string) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	delete(w.current, name)
	w.ledger[name] = append(w.ledger[name], change{kind: watch.Deleted})
}

// bulk makes an object about as large as objects are; it is base64, as secrets must be.
var bulk = strings.Repeat("c3VjaCBhbmQgc28g", 40)

// value is a small number as this kind of object has it.
func value(kind, number string) string {
	if kind == "Secret" {
		return map[string]string{"0": "MA==", "1": "MQ=="}[number]
	}
	return number
}

func revisionOf(text string) int64 {
	revision, err := strconv.ParseInt(text, 10, 64)
	must(err)
	return revision
}

func sorted[T any](of map[string]T) []string {
	names := make([]string, 0, len(of))
	for name := range of {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
