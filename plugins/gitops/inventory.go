package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/git"
	"github.com/seed-a3fb47d6/bulkhead/sdk/kube"
)

// inventory is the list of the objects that syncs of one path in git applied. It is a
// ConfigMap in the namespace of the sync, written as the user.
type inventory struct {
	cluster   kube.Cluster
	configMap identity
	declared  declaration // of the present sync
	source    git.Where
	version   string // resourceVersion; empty: it does not exist
	objects   []identity
}

const (
	inventoryKey   = "objects"
	inventoryLabel = "bulkhead.internal/inventory" // "true" for each inventory

	// The annotations of an inventory say what was synced last.
	annotationFrom       = "bulkhead.internal/from" // the repository as the request named it
	annotationRepository = "bulkhead.internal/repository"
	annotationPath       = "bulkhead.internal/path"
	annotationBranch     = "bulkhead.internal/branch"
	annotationCommit     = "bulkhead.internal/commit"
)

type configMap struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   inventoryMeta     `json:"metadata"`
	Data       map[string]string `json:"data"`
}

type inventoryMeta struct {
	Name            string            `json:"name"`
	Namespace       string            `json:"namespace"`
	ResourceVersion string            `json:"resourceVersion,omitempty"`
	Labels          map[string]string `json:"labels,omitempty"`
	Annotations     map[string]string `json:"annotations,omitempty"`
}

// readInventory reads the inventory of a path, which is empty if there is none.
func readInventory(d *declaration, source git.Where) (*inventory, error) {
	sum := sha256.Sum256([]byte(source.Repository + "\n" + source.Path))
	v := &inventory{cluster: kube.Cluster(d.Cluster), declared: *d, source: source, configMap: identity{
		APIVersion: "v1", Kind: "ConfigMap", Resource: "configmaps", Namespace: d.Namespace, Name: "bulkhead-inventory-" + hex.EncodeToString(sum[:6]),
	}}
	return v, v.read()
}

func (v *inventory) read() error {
	var stored configMap
	err := v.cluster.Get(v.configMap.path(), &stored)
	if absent(err) {
		v.version, v.objects = "", nil
		return nil
	}
	if err != nil {
		return err
	}
	v.version, v.objects = stored.Metadata.ResourceVersion, nil
	if err := json.Unmarshal([]byte(stored.Data[inventoryKey]), &v.objects); err != nil {
		return sdk.Errorf(409, "the inventory %s/%s cannot be read; delete it to begin a new one", v.configMap.Namespace, v.configMap.Name)
	}
	for i := range v.objects {
		if o := &v.objects[i]; o.Resource == "" || o.Name == "" || o.APIVersion == "" || strings.Count(o.APIVersion, "/") > 1 {
			return sdk.Errorf(409, "the inventory %s/%s has an invalid entry; delete it to begin a new one", v.configMap.Namespace, v.configMap.Name)
		}
	}
	return nil
}

// pruning is what a prune would delete, and what it did delete.
type pruning struct {
	Inventory string     `json:"inventory"` // its name
	Confirm   string     `json:"confirm"`   // the digest of the list
	All       bool       `json:"all"`       // nothing of the inventory would remain
	Objects   []identity `json:"objects"`
	Pruned    []identity `json:"pruned"`
}

// plan returns the objects of the inventory that git no longer declares, in the order in
// which they were applied.
func (v *inventory) plan(items []*item) *pruning {
	declared := map[string]bool{}
	for _, i := range items {
		declared[i.key()] = true
	}
	p := &pruning{Inventory: v.configMap.Name, Objects: []identity{}, Pruned: []identity{}}
	remains := false
	for _, o := range v.objects {
		if declared[o.key()] {
			remains = true
		} else {
			p.Objects = append(p.Objects, o)
		}
	}
	slices.SortStableFunc(p.Objects, func(a, b identity) int { return rank(a.Kind) - rank(b.Kind) })
	p.All = len(p.Objects) > 0 && !remains
	h := sha256.New()
	h.Write([]byte(string(v.cluster) + v.configMap.path() + "\n"))
	for _, o := range p.Objects {
		h.Write([]byte(o.key() + "\n"))
	}
	p.Confirm = hex.EncodeToString(h.Sum(nil)[:8])
	return p
}

// record adds the objects that are about to be applied.
func (v *inventory) record(items []*item) error {
	return v.write(func(old []identity) []identity {
		by := map[string]int{}
		for n := range old {
			by[old[n].key()] = n
		}
		for _, i := range items {
			if n, ok := by[i.key()]; ok {
				old[n] = i.identity // perhaps another version
				continue
			}
			old = append(old, i.identity)
		}
		return old
	})
}

// forget removes objects that do not exist any more.
func (v *inventory) forget(gone []identity) error {
	return v.write(func(old []identity) []identity {
		return slices.DeleteFunc(old, func(o identity) bool {
			return slices.ContainsFunc(gone, func(g identity) bool { return g.key() == o.key() })
		})
	})
}

// write changes the list. If another sync has changed it meanwhile, it is read again.
func (v *inventory) write(change func([]identity) []identity) error {
	for attempt := 0; ; attempt++ {
		next := change(slices.Clone(v.objects))
		text, err := json.Marshal(next)
		if err != nil {
			return err
		}
		object := configMap{"v1", "ConfigMap", inventoryMeta{
			Name: v.configMap.Name, Namespace: v.configMap.Namespace, ResourceVersion: v.version,
			Labels: map[string]string{"app.kubernetes.io/managed-by": manager, inventoryLabel: "true"},
			Annotations: map[string]string{
				annotationFrom: cmp.Or(v.declared.RepoURL, v.declared.Repository), annotationRepository: v.source.Repository,
				annotationPath: v.source.Path, annotationBranch: v.declared.Branch, annotationCommit: v.source.Commit,
			},
		}, map[string]string{inventoryKey: string(text)}}
		var stored configMap
		path := v.configMap.path()
		if v.version == "" {
			err = v.cluster.Create(strings.TrimSuffix(path, "/"+v.configMap.Name)+"?fieldManager="+manager, object, &stored)
		} else {
			err = v.cluster.Update(path+"?fieldManager="+manager, object, &stored)
		}
		if err == nil {
			v.objects, v.version = next, stored.Metadata.ResourceVersion
			return nil
		}
		if sdk.StatusOf(err) != 409 || attempt == 3 {
			return err
		}
		if err := v.read(); err != nil {
			return err
		}
	}
}
