package main

import (
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const page = 70

// A past is a revision, what was there then, and a page's promise to go on from it.
type past struct {
	of       schema.GroupVersionResource
	revision string
	names    []string
	next     string
}

// pages lists page by page, while objects come and change between two pages: all pages together
// must show each object once, and as it was at the first page.
func (w *shift) pages() past {
	start := time.Now()
	it := past{names: sorted(w.current)}
	expected := map[string]string{}
	for name, object := range w.current {
		expected[name] = object.GetResourceVersion()
	}
	options := v1.ListOptions{Limit: page}
	count := 0
	for number := 0; number == 0 || options.Continue != ""; number++ {
		list, err := w.objects.List(w.ctx, options)
		must(err)
		if number == 0 {
			it.revision = list.GetResourceVersion()
		}
		if list.GetResourceVersion() != it.revision {
			fail("page %d of %s is of revision %s and not %s", number, w.name,
				list.GetResourceVersion(), it.revision)
		}
		count += len(list.Items)
		for _, object := range list.Items {
			name, revision := object.GetName(), object.GetResourceVersion()
			if expected[name] != revision {
				fail("page %d of %s shows %s of %q and not of %q", number, w.name, name,
					revision, expected[name])
			}
			delete(expected, name)
		}
		if left := list.GetRemainingItemCount(); left != nil && *left != int64(len(expected)) {
			fail("page %d of %s says that %d remain, not %d", number, w.name, *left, len(expected))
		}
		w.add(fmt.Sprintf("page-%05d", number))
		w.change(it.names[len(it.names)-1-number])
		options.Continue = list.GetContinue()
	}
	if len(expected) != 0 {
		fail("%d of the %s are on no page", len(expected), w.name)
	}
	fmt.Printf("%s: %d listed in pages of %d in %.2f s\n", w.name, count, page,
		time.Since(start).Seconds())
	return it
}

// everything lists all in one reply, which must be all that was written, to the byte.
func (w *shift) everything() {
	start := time.Now()
	list, err := w.objects.List(w.ctx, v1.ListOptions{})
	must(err)
	took := time.Since(start)
	ours := map[string]*unstructured.Unstructured{}
	for i := range list.Items {
		ours[list.Items[i].GetName()] = &list.Items[i]
	}
	for name, expected := range w.current {
		same(w.name, ours[name], expected)
		delete(ours, name)
	}
	for name := range ours {
		fail("%s has %s", w.name, name)
	}
	fmt.Printf("%s: all %d listed in %.3f s\n", w.name, len(list.Items), took.Seconds())
}

func same(what string, actual, expected *unstructured.Unstructured) {
	if actual == nil {
		fail("%s does not have %s", what, expected.GetName())
	}
	actual.SetKind(expected.GetKind())
	actual.SetAPIVersion(expected.GetAPIVersion())
	ours, err := actual.MarshalJSON()
	must(err)
	theirs, err := expected.MarshalJSON()
	must(err)
	if string(ours) != string(theirs) {
		fail("%s has\n%sand should have\n%s", what, ours, theirs)
	}
}

// asItWas lists at a revision of before.
func (w *shift) asItWas(it past) {
	list, err := w.objects.List(w.ctx, v1.ListOptions{
		ResourceVersion:      it.revision,
		ResourceVersionMatch: v1.ResourceVersionMatchExact,
	})
	must(err)
	names := map[string]bool{}
	for _, object := range list.Items {
		names[object.GetName()] = true
	}
	for _, name := range it.names {
		if !names[name] {
			fail("%s at %s did not have %s", w.name, it.revision, name)
		}
	}
	if len(names) != len(it.names) || list.GetResourceVersion() != it.revision {
		fail("%s at %s had %d objects, not %d", w.name, it.revision, len(names), len(it.names))
	}
}

// remember keeps a page's promise for the time when the server has compacted the store.
func (s *session) remember(of schema.GroupVersionResource) past {
	for i := range 5 {
		it := object("v1", "Secret", fmt.Sprintf("old-%d", i))
		s.create(of, elsewhere, it)
	}
	objects := s.resource(of, elsewhere)
	list, err := objects.List(s.ctx, v1.ListOptions{Limit: 2})
	must(err)
	it := past{of: of, revision: list.GetResourceVersion(), next: list.GetContinue()}
	must(objects.Delete(s.ctx, "old-4", v1.DeleteOptions{}))
	return it
}

// isCompacted waits until the past is gone: a page then says so, and how to go on without it, and
// a watch from there is refused.
func (s *session) isCompacted(it past) {
	objects := s.resource(it.of, elsewhere)
	var gone *apierrors.StatusError
	s.eventually("a page of a compacted revision", 90*time.Second, func() error {
		_, err := objects.List(s.ctx, v1.ListOptions{Limit: 2, Continue: it.next})
		if !apierrors.IsResourceExpired(err) {
			return fmt.Errorf("it answers %v", err)
		}
		gone = err.(*apierrors.StatusError)
		return nil
	})
	next := gone.Status().ListMeta.Continue
	list, err := objects.List(s.ctx, v1.ListOptions{Limit: 9, Continue: next})
	must(err)
	if len(list.Items) != 2 || list.Items[1].GetName() != "old-3" {
		fail("without a revision the next page has %d objects", len(list.Items))
	}
	watching, err := objects.Watch(s.ctx, v1.ListOptions{ResourceVersion: it.revision})
	if err == nil {
		defer watching.Stop()
		event, open := <-watching.ResultChan()
		if !open {
			fail("a watch of a compacted revision ends without a word")
		}
		err = apierrors.FromObject(event.Object)
	}
	if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		fail("a watch of a compacted revision: %v", err)
	}
	fmt.Println("what is compacted is gone, for pages and for watches")
}

// comeAndGo makes objects that the store forgets by itself.
func (s *session) comeAndGo() {
	for i := range 50 {
		it := object("v1", "Event", fmt.Sprintf("event-%d", i))
		it.Object["involvedObject"] = map[string]any{"kind": "Pod", "namespace": namespace}
		s.create(events, namespace, it)
	}
	list, err := s.resource(events, namespace).List(s.ctx, v1.ListOptions{})
	must(err)
	if len(list.Items) != 50 {
		fail("there are %d events", len(list.Items))
	}
}

func (s *session) haveGone() {
	s.eventually("events end", 60*time.Second, func() error {
		list, err := s.resource(events, namespace).List(s.ctx, v1.ListOptions{})
		if err == nil && len(list.Items) != 0 {
			err = fmt.Errorf("%d are left", len(list.Items))
		}
		return err
	})
	fmt.Println("events have ended with their leases")
}
