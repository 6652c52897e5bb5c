package helm

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/pmezard/go-difflib/difflib"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/release"
	"sigs.k8s.io/yaml"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// Bounds of what is compared line by line, which can take the product of both lengths.
const (
	maxDiffLines = 2000    // of one object
	maxDiffBytes = 4 << 20 // of all objects
)

// shown reads revisions of the release, 0 being the newest, and returns them with what
// hides their secrets; nil if they have too many to hide and the user may see them.
func (r *run) shown(ctx context.Context, revisions ...int) (list []*release.Release, c *concealer, err error) {
	s := r.records()
	for _, revision := range revisions {
		var rel *release.Release
		if revision == 0 {
			rel, err = s.newest(ctx, r.release)
		} else if rel, err = s.read(ctx, key{r.namespace, r.release, revision}, true, newBudget(maxRelease)); err != nil {
			err = s.missing(ctx, r.request, revision, err)
		}
		if err != nil {
			return nil, nil, r.failure(err)
		}
		list = append(list, rel)
	}
	if c, err = newConcealer(list...); err != nil && r.reveal != nil && r.reveal() {
		return list, nil, nil
	}
	return list, c, err
}

// choose answers plain, or concealed if that is not nil and the user may not see Secrets.
// A child answers both, and the host chooses.
func (r *run) choose(plain, concealed any) (*abi.Response, error) {
	switch {
	case concealed == nil:
	case r.reveal == nil:
		text, err := json.Marshal(concealed)
		if err != nil {
			return nil, err
		}
		r.concealed = text
	case !r.reveal():
		plain = concealed
	}
	return answer(plain)
}

func (r *run) showValues(ctx context.Context) (*abi.Response, error) {
	list, c, err := r.shown(ctx, r.revision)
	if err != nil {
		return nil, err
	}
	values := list[0].Config
	if r.all {
		if values, err = chartutil.CoalesceValues(list[0].Chart, list[0].Config); err != nil {
			return nil, r.failure(err)
		}
	}
	if values == nil {
		values = map[string]any{}
	}
	if c != nil {
		if hidden, at := c.values(values); len(at) > 0 {
			return r.choose(valuesShown{Values: values}, valuesShown{hidden, at})
		}
	}
	return answer(valuesShown{Values: values})
}

func (r *run) showNotes(ctx context.Context) (*abi.Response, error) {
	list, c, err := r.shown(ctx, r.revision)
	if err != nil {
		return nil, err
	}
	plain := notesShown{Revision: list[0].Version, Notes: list[0].Info.Notes}
	if c != nil {
		if hidden := c.text(plain.Notes); c.hidden {
			return r.choose(plain, notesShown{plain.Revision, hidden, true})
		}
	}
	return answer(plain)
}

func (r *run) showManifest(ctx context.Context) (*abi.Response, error) {
	list, c, err := r.shown(ctx, r.revision)
	if err != nil {
		return nil, err
	}
	plain := manifestShown{Revision: list[0].Version, Manifest: list[0].Manifest}
	if c != nil {
		var b strings.Builder
		for _, o := range objectsOf(plain.Manifest) {
			b.WriteString("---\n" + c.object(&o, nil) + "\n")
		}
		if c.hidden {
			return r.choose(plain, manifestShown{plain.Revision, b.String(), true})
		}
	}
	return answer(plain)
}

// showDiff compares two revisions. Without "to" the second is the newest, without "from"
// the first is the one before.
func (r *run) showDiff(ctx context.Context) (*abi.Response, error) {
	from, to, err := r.compared(ctx)
	if err != nil {
		return nil, err
	}
	list, c, err := r.shown(ctx, from, to)
	if err != nil {
		return nil, err
	}
	of := func(c *concealer) (diffShown, error) {
		objects, err := diff(ctx, list[0].Manifest, list[1].Manifest, c)
		return diffShown{from, to, objects, c != nil}, err
	}
	if c != nil {
		concealed, err := of(c)
		if err != nil {
			return nil, err
		}
		if c.hidden && !r.reveal() {
			return answer(concealed)
		}
	}
	plain, err := of(nil)
	if err != nil {
		return nil, err
	}
	return answer(plain)
}

// compared returns the revisions to compare.
func (r *run) compared(ctx context.Context) (from, to int, err error) {
	if r.from > 0 && r.to > 0 {
		return r.from, r.to, nil
	}
	keys, err := r.records().history(ctx, r.release)
	if err != nil {
		return 0, 0, r.failure(err)
	}
	to = cmp.Or(r.to, keys[0].revision)
	for _, k := range keys {
		if from = r.from; from == 0 && k.revision < to {
			from = k.revision
		}
		if from > 0 {
			return from, to, nil
		}
	}
	return 0, 0, host.E(host.NotFound, name+"."+r.action, "release %q has no revision before %d", r.release, to)
}

// objectDiff is how one object differs.
type objectDiff struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"` // empty: the release's
	Name       string `json:"name"`
	Change     string `json:"change"` // added, removed or changed
	// Diff is a unified diff of the texts; empty with Omitted if they are too long to
	// be compared.
	Diff    string `json:"diff"`
	Omitted bool   `json:"omitted,omitempty"`
}

// diff compares the objects of two manifests, in the order of the second; what is only in
// the first comes last. A nil concealer hides nothing.
func diff(ctx context.Context, before, after string, c *concealer) ([]objectDiff, error) {
	old, found, left := objectsOf(before), []objectDiff{}, maxDiffBytes
	add := func(change string, a, b *object) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		texts := [2]string{}
		for i, pair := range [2][2]*object{{a, b}, {b, a}} {
			switch o := pair[0]; {
			case o == nil:
			case c == nil:
				texts[i] = o.text + "\n"
			case i == 0:
				texts[i] = c.object(o, nil) + "\n"
			default:
				texts[i] = c.object(o, pair[1]) + "\n"
			}
		}
		o := cmp.Or(b, a)
		d := objectDiff{APIVersion: o.apiVersion, Kind: o.kind, Namespace: o.namespace, Name: o.name, Change: change}
		x, y := difflib.SplitLines(texts[0]), difflib.SplitLines(texts[1])
		if left -= len(texts[0]) + len(texts[1]); left < 0 || max(len(x), len(y)) > maxDiffLines {
			d.Omitted = true
			found = append(found, d)
			return nil
		}
		text, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{A: x, B: y, Context: 3})
		d.Diff = text
		found = append(found, d)
		return err
	}
	olds := map[string][]*object{}
	for i := range old {
		olds[old[i].identity()] = append(olds[old[i].identity()], &old[i])
	}
	for _, b := range objectsOf(after) {
		var a *object
		if same := olds[b.identity()]; len(same) > 0 {
			a, olds[b.identity()] = same[0], same[1:]
			a.matched = true
		}
		change := "changed"
		if a == nil {
			change = "added"
		}
		if a != nil && a.text == b.text {
			continue
		}
		if err := add(change, a, &b); err != nil {
			return nil, err
		}
	}
	for i := range old {
		if !old[i].matched {
			if err := add("removed", &old[i], nil); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// object returns the text of a document without the secrets. before is the same object
// in the manifest that it is compared with, nil if there is none: values of a Secret that
// differ are then marked.
func (c *concealer) object(o, before *object) string {
	secrets := o.secrets()
	if o.content == nil {
		c.hidden = true
		return "# a document that cannot be read: " + hiddenText
	}
	if len(secrets) == 0 {
		return c.text(o.text)
	}
	var old []map[string]any
	if before != nil {
		old = before.secrets()
	}
	originals := make([]map[string]map[string]any, len(secrets))
	for i, s := range secrets {
		originals[i] = map[string]map[string]any{}
		for _, field := range []string{"data", "stringData"} {
			values, _ := s[field].(map[string]any)
			if len(values) == 0 {
				continue
			}
			hidden, earlier := map[string]any{}, map[string]any{}
			if i < len(old) {
				earlier, _ = old[i][field].(map[string]any)
			}
			for k, v := range values {
				hidden[k] = hiddenText
				if was, ok := earlier[k]; ok && fmt.Sprint(was) != fmt.Sprint(v) {
					hidden[k] = hiddenTextChanged
				}
			}
			originals[i][field], s[field], c.hidden = values, hidden, true
		}
	}
	text, err := yaml.Marshal(o.content)
	for i, s := range secrets { // the object may be compared once more
		for field, values := range originals[i] {
			s[field] = values
		}
	}
	if err != nil {
		return "# a document that cannot be shown: " + hiddenText
	}
	return c.text(strings.TrimSpace(string(text)))
}
