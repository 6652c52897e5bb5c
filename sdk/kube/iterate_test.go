package kube_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/kube"
	"github.com/seed-a3fb47d6/bulkhead/sdk/sdktest"
)

// scripted runs f in a plugin whose calls get the outcomes one after another, and returns what
// was called. An outcome is a body, a status, or an *abi.Error.
func scripted(t *testing.T, f func(kube.Cluster) error, outcomes ...any) (calls []string, err error) {
	t.Helper()
	h := sdktest.New(t, manifest)
	h.Capability("kube", func(r *abi.Request) (*abi.Response, error) {
		call := strings.TrimPrefix(r.URL, "kube://dev/api/v1/namespaces/shop/")
		if accept := r.Header[0].Value; strings.Contains(accept, "as=") {
			call += " " + accept[strings.Index(accept, "as=")+3:strings.Index(accept, ";v=")]
		}
		calls = append(calls, call)
		if len(outcomes) == 0 {
			return nil, &abi.Error{Status: 400, Origin: abi.OriginHost, Message: "the script has ended"}
		}
		outcome := outcomes[0]
		outcomes = outcomes[1:]
		switch o := outcome.(type) {
		case string:
			return &abi.Response{Status: 200, Body: []byte(o)}, nil
		case *abi.Error:
			return nil, o
		}
		return nil, &abi.Error{Status: outcome.(int), Origin: abi.OriginUpstream, Message: fmt.Sprint("status ", outcome)}
	})
	use = func(c kube.Cluster) error { err = f(c); return nil }
	if r := h.Do(sdktest.Request{Path: "/"}); r.Status != 204 {
		t.Fatalf("the plugin answered %d %s", r.Status, r.Text())
	}
	return calls, err
}

type named struct {
	Metadata kube.Metadata `json:"metadata"`
}

var pods = kube.Objects("v1", "shop", "pods")

func items(names string) string {
	var list []string
	for _, name := range strings.Fields(names) {
		list = append(list, fmt.Sprintf(`{"metadata":{"name":%q,"labels":{"a":"]}"}}}`, name))
	}
	return `"items":[` + strings.Join(list, ",") + "]"
}

// collect returns the names that Each yields, and its error.
func collect(o kube.ListOptions, names *string) func(kube.Cluster) error {
	return func(c kube.Cluster) error {
		for pod, err := range kube.Each[named](c, pods, o) {
			if err != nil {
				return err
			}
			*names += pod.Metadata.Name + " "
		}
		return nil
	}
}

func TestEachFollowsThePages(t *testing.T) {
	var names string
	calls, err := scripted(t, collect(kube.ListOptions{LabelSelector: "a=b"}, &names),
		`{"kind":"PodList",`+items("a b")+`,"metadata":{"continue":"next page","resourceVersion":"5"}}`,
		`{"metadata":{"continue":""},`+items("c")+`}`)
	if err != nil || names != "a b c " {
		t.Errorf("got %q, %v", names, err)
	}
	if want := "[pods?labelSelector=a%3Db&limit=500 pods?continue=next+page&labelSelector=a%3Db&limit=500]"; fmt.Sprint(calls) != want {
		t.Errorf("called %s", calls)
	}
}

func TestEachEndsWhereTheLoopEnds(t *testing.T) {
	calls, err := scripted(t, func(c kube.Cluster) error {
		for range kube.Each[named](c, pods, kube.ListOptions{}) {
			break
		}
		return nil
	}, `{"metadata":{"continue":"x"},`+items("a b")+`}`)
	if err != nil || len(calls) != 1 {
		t.Errorf("called %s, %v", calls, err)
	}
}

// A namespace that could not be read is not lost among those that could.
func TestEachSaysWhichNamespacesAreMissing(t *testing.T) {
	var names string
	_, err := scripted(t, collect(kube.ListOptions{}, &names),
		`{"metadata":{},`+items("a")+`,"errors":[{"namespace":"bank","status":403,"message":"forbidden"},{"namespace":"till","status":403,"message":"no"}]}`)
	missing, ok := errors.AsType[*kube.Incomplete](err)
	if names != "a " || !ok || len(missing.Unread) != 2 || err.Error() != "namespace bank could not be read: forbidden (and 1 others)" {
		t.Errorf("got %q, %v", names, err)
	}
}

func TestAListThatCannotBeReadIsAnError(t *testing.T) {
	for _, body := range []string{`<html>`, `{"items":[{]}`, `{"items":{}}`, `{"items":[{"metadata":{"name":1}}]}`, `{"items":[1`} {
		var names string
		if _, err := scripted(t, collect(kube.ListOptions{}, &names), body); err == nil || !strings.Contains(err.Error(), "answer of GET kube://dev/api/v1/") {
			t.Errorf("%s: %v", body, err)
		}
	}
	var names string
	if _, err := scripted(t, collect(kube.ListOptions{}, &names), 403); kube.DeniedBy(err) != kube.ByCluster {
		t.Error(err)
	}
}

func TestMetadataAloneIsAskedFor(t *testing.T) {
	var name string
	calls, err := scripted(t, func(c kube.Cluster) error {
		one, err := c.GetMetadata(kube.Objects("v1", "shop", "pods", "web"))
		if err != nil {
			return err
		}
		name = one.Metadata.Name
		for p, err := range kube.Each[kube.Partial](c, pods, kube.ListOptions{MetadataOnly: true}) {
			if err != nil {
				return err
			}
			name += " " + p.Metadata.Name
		}
		return nil
	}, `{"kind":"PartialObjectMetadata","metadata":{"name":"web"}}`, `{"metadata":{},`+items("db")+`}`)
	if want := "[pods/web PartialObjectMetadata pods?limit=500 PartialObjectMetadataList]"; err != nil || name != "web db" || fmt.Sprint(calls) != want {
		t.Errorf("%q, called %s, %v", name, calls, err)
	}
}

func TestObjectsIsThePathOfAnyKind(t *testing.T) {
	for want, got := range map[string]string{
		"/api/v1/namespaces":                             kube.Objects("v1", "", "namespaces"),
		"/api/v1/namespaces/shop/pods/web/log":           kube.Objects("v1", "shop", "pods", "web", "log"),
		"/apis/apps/v1/namespaces/shop/deployments/web":  kube.Objects("apps/v1", "shop", "deployments", "web"),
		"/apis/apps/v1/namespaces/a%2Fb/deployments/..":  kube.Objects("apps/v1", "a/b", "deployments", ".."), // and refused by the call
		"/apis/apps/v1/namespaces/shop/deployments/x/sc": kube.Objects("apps/v1", "shop", "deployments", "x", "sc"),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// follow makes a handler that writes down the events of a watch, until there are n.
func follow(o kube.WatchOptions, n int, seen *[]string) func(kube.Cluster) error {
	return func(c kube.Cluster) error {
		for e, err := range kube.Watch[named](c, pods, o) {
			if err != nil {
				return err
			}
			text := strings.ToLower(string(e.Type))
			if e.Object != nil {
				text += " " + e.Object.Metadata.Name
			}
			*seen = append(*seen, text+" "+e.ResourceVersion)
			if len(*seen) == n {
				return nil
			}
		}
		return nil
	}
}

func event(kind, name, version string) string {
	return fmt.Sprintf(`{"type":%q,"object":{"metadata":{"name":%q,"resourceVersion":%q}}}`, kind, name, version) + "\n"
}

const waiting = "&timeoutSeconds=20&watch=true"

func TestAWatchBeginsWithWhatExistsAndGoesOnWhereItWas(t *testing.T) {
	var seen []string
	calls, err := scripted(t, follow(kube.WatchOptions{}, 7, &seen),
		`{"metadata":{"resourceVersion":"10"},`+items("a b")+`}`,
		event("MODIFIED", "a", "11")+event("DELETED", "b", "12"),
		"",
		event("BOOKMARK", "", "20"),
		event("ADDED", "c", "21"))
	if want := "[added a  added b  bookmark 10 modified a 11 deleted b 12 bookmark 12 bookmark 20]"; err != nil || fmt.Sprint(seen) != want {
		t.Errorf("saw %s, %v", seen, err)
	}
	want := []string{"pods?limit=500"}
	for _, version := range []string{"10", "12", "12"} {
		want = append(want, "pods?allowWatchBookmarks=true&resourceVersion="+version+waiting)
	}
	if fmt.Sprint(calls) != fmt.Sprint(want) {
		t.Errorf("called %s", calls)
	}
}

func TestAWatchThatIsTooOldBeginsAnew(t *testing.T) {
	defer kube.NoPauses()()
	var seen []string
	_, err := scripted(t, follow(kube.WatchOptions{ResourceVersion: "1"}, 4, &seen),
		event("ADDED", "a", "2"), 410, `{"metadata":{"resourceVersion":"30"},`+items("b")+`}`)
	if want := "[added a 2 reset  added b  bookmark 30]"; err != nil || fmt.Sprint(seen) != want {
		t.Errorf("saw %s, %v", seen, err)
	}
}

func TestAWatchOutlivesAShortFailureButNotALongOne(t *testing.T) {
	defer kube.NoPauses()()
	var seen []string
	calls, err := scripted(t, follow(kube.WatchOptions{ResourceVersion: "1"}, 1, &seen), 503, 502, event("ADDED", "a", "2"))
	if err != nil || len(seen) != 1 || len(calls) != 3 {
		t.Errorf("saw %s, called %s, %v", seen, calls, err)
	}
	calls, err = scripted(t, follow(kube.WatchOptions{ResourceVersion: "1"}, 1, &seen), 503, 503, 503, 503, 503, event("ADDED", "a", "2"))
	if sdk.StatusOf(err) != 503 || len(calls) != 5 {
		t.Errorf("called %s, %v", calls, err)
	}
	// A list that broke off after some objects begins anew.
	seen = nil
	_, err = scripted(t, follow(kube.WatchOptions{}, 5, &seen),
		`{"metadata":{"continue":"x","resourceVersion":"3"},`+items("a")+`}`, 503, `{"metadata":{"resourceVersion":"4"},`+items("a b")+`}`)
	if want := "[added a  reset  added a  added b  bookmark 4]"; err != nil || fmt.Sprint(seen) != want {
		t.Errorf("saw %s, %v", seen, err)
	}
}

func TestAWatchEndsWhenItIsNoLongerPermitted(t *testing.T) {
	var seen []string
	_, err := scripted(t, follow(kube.WatchOptions{ResourceVersion: "1"}, 9, &seen), event("ADDED", "a", "2"),
		&abi.Error{Status: 403, Origin: abi.OriginPolicy, Message: "not permitted"})
	if len(seen) != 1 || kube.DeniedBy(err) != kube.ByPolicy {
		t.Errorf("saw %s, %v", seen, err)
	}
	for _, body := range []string{"<html>\n", `{"type":"ADDED","object":[]}` + "\n"} {
		if _, err := scripted(t, follow(kube.WatchOptions{ResourceVersion: "1"}, 9, &seen), body); err == nil || !strings.Contains(err.Error(), "event of /api/v1/") {
			t.Errorf("%s: %v", body, err)
		}
	}
	if _, err := scripted(t, follow(kube.WatchOptions{}, 9, &[]string{}), `{"metadata":{},`+items("")+`}`); err == nil || !strings.Contains(err.Error(), "watch one namespace") {
		t.Error(err)
	}
}

func TestWhoRefusedIsToldApart(t *testing.T) {
	for _, c := range []struct {
		err                                 *abi.Error
		notFound, exists, conflict, expired bool
		denied                              kube.Denier
	}{
		{err: &abi.Error{Status: 404, Origin: abi.OriginUpstream}, notFound: true},
		{err: &abi.Error{Status: 404, Origin: abi.OriginHost}}, // such as an unknown cluster
		{err: &abi.Error{Status: 409, Origin: abi.OriginUpstream, Message: `pods "a" already exists`}, exists: true},
		{err: &abi.Error{Status: 409, Origin: abi.OriginUpstream, Message: "the object has been modified"}, conflict: true},
		{err: &abi.Error{Status: 410, Origin: abi.OriginUpstream}, expired: true},
		{err: &abi.Error{Status: 403, Origin: abi.OriginPolicy}, denied: kube.ByPolicy},
		{err: &abi.Error{Status: 403, Origin: abi.OriginGrant}, denied: kube.ByGrant},
		{err: &abi.Error{Status: 403, Origin: abi.OriginUpstream}, denied: kube.ByCluster},
		{err: &abi.Error{Status: 403, Origin: abi.OriginHost}, denied: kube.ByHost},
	} {
		err := fmt.Errorf("wrapped: %w", c.err)
		if kube.IsNotFound(err) != c.notFound || kube.IsExists(err) != c.exists || kube.IsConflict(err) != c.conflict ||
			kube.IsExpired(err) != c.expired || kube.DeniedBy(err) != c.denied {
			t.Errorf("%+v is misread", c.err)
		}
	}
	if kube.IsNotFound(nil) || kube.DeniedBy(errors.New("x")) != kube.NotDenied {
		t.Error("no refusal is read as one")
	}
}

func TestAnApplyNamesTheFieldsOfOthers(t *testing.T) {
	apply := func(o kube.ApplyOptions) func(kube.Cluster) error {
		return func(c kube.Cluster) error { return c.Apply(pods+"/web", map[string]string{"kind": "Pod"}, o, nil) }
	}
	calls, err := scripted(t, apply(kube.ApplyOptions{Manager: "my plugin", Force: true, DryRun: true}), "{}")
	if want := "[pods/web?dryRun=All&fieldManager=my+plugin&fieldValidation=Strict&force=true]"; err != nil || fmt.Sprint(calls) != want {
		t.Errorf("called %s, %v", calls, err)
	}
	refusal := &abi.Error{Status: 409, Code: abi.CodeConflict, Origin: abi.OriginUpstream, Message: "Apply failed with 2 conflicts",
		Detail: ".spec.replicas: conflict with \"kubectl\" using apps/v1\n.data.a: conflict with \"helm\""}
	_, err = scripted(t, apply(kube.ApplyOptions{Manager: "m"}), refusal)
	conflict, ok := errors.AsType[*kube.ConflictError](err)
	want := []kube.FieldConflict{{".spec.replicas", `conflict with "kubectl" using apps/v1`}, {".data.a", `conflict with "helm"`}}
	if !ok || !kube.IsConflict(err) || fmt.Sprint(conflict.Fields) != fmt.Sprint(want) || sdk.StatusOf(err) != 409 {
		t.Errorf("got %v", err)
	}
	_, err = scripted(t, apply(kube.ApplyOptions{Manager: "m"}), &abi.Error{Status: 409, Origin: abi.OriginUpstream, Message: "modified"})
	if _, ok := errors.AsType[*kube.ConflictError](err); ok || !kube.IsConflict(err) {
		t.Errorf("got %v", err)
	}
	if calls, err := scripted(t, apply(kube.ApplyOptions{})); sdk.StatusOf(err) != 400 || len(calls) != 0 {
		t.Errorf("called %s, %v", calls, err)
	}
}
