package kube

import (
	"encoding/json"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster/clustertest"
)

func TestChangesBeginWithTheStateAndGoOn(t *testing.T) {
	namespace := fmt.Sprintf("watched-%d", time.Now().UnixNano()%1e9)
	apply := func(text string) {
		t.Helper()
		if err := clustertest.Start(t).Apply(t, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	object := func(value string) string {
		return fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: one, namespace: %s}, data: {value: %q}}", namespace, value)
	}
	apply(fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s}}\n---\n%s", namespace, object("1")))
	vic := person(t, clustertest.Viewer, host.Obligations{})
	next := func(cursor string) (c changed, values string) {
		t.Helper()
		resp, err := vic("GET", "kube://dev/api/v1/namespaces/"+namespace+"/configmaps?changes=true&wait=20&cursor="+url.QueryEscape(cursor), "")
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(resp.Body, &c); err != nil {
			t.Fatal(err)
		}
		for _, e := range c.Events {
			var o struct {
				Metadata struct{ Name, Namespace string }
				Data     struct{ Value string }
			}
			if err := json.Unmarshal(e.Object, &o); err != nil || o.Metadata.Namespace != namespace {
				t.Errorf("got %s, %v", e.Object, err)
			}
			if o.Metadata.Name == "one" {
				values += e.Type + o.Data.Value + " "
			}
		}
		return c, values
	}
	c, values := next("")
	if !c.Complete || c.More || values != "MODIFIED1 " {
		t.Fatalf("the first piece is %+v", c)
	}
	apply(object("2"))
	for values = ""; values == ""; { // the controllers' own ConfigMap comes into a new namespace, too
		c, values = next(c.Cursor)
	}
	if c.Complete || values != "MODIFIED2 " {
		t.Errorf("then %+v", c)
	}
	if err := clustertest.Start(t).Delete(t, []byte(object(""))); err != nil {
		t.Fatal(err)
	}
	for values = ""; values == ""; {
		c, values = next(c.Cursor)
	}
	if values != "DELETED " {
		t.Errorf("at last %+v", c)
	}
}

func TestChangesAreRefusedAsAListWouldBe(t *testing.T) {
	const watch = "kube://dev/api/v1/namespaces/shop/configmaps?changes=true"
	if _, err := person(t, clustertest.Nobody, host.Obligations{})("GET", watch, ""); host.KindOf(err) != host.Forbidden {
		t.Errorf("without the cluster's permission: %v", err)
	}
	if _, err := person(t, clustertest.Viewer, host.Obligations{Redact: []string{"/data"}})("GET", watch, ""); host.KindOf(err) != host.Forbidden {
		t.Errorf("with parts to redact: %v", err)
	}
	if _, err := person(t, clustertest.Viewer, host.Obligations{Namespaces: []string{"bank"}})("GET", watch, ""); host.KindOf(err) != host.Forbidden {
		t.Errorf("in another namespace than policy permits: %v", err)
	}
	resp, err := person(t, clustertest.Viewer, host.Obligations{Namespaces: []string{"nothing-here"}})("GET", "kube://dev/api/v1/configmaps?changes=true", "")
	var c changed
	if err == nil {
		err = json.Unmarshal(resp.Body, &c)
	}
	if err != nil || len(c.Events) > 0 || !c.Complete {
		t.Errorf("in all namespaces, narrowed to an empty one: %+v, %v", c, err)
	}
}
