package git

import (
	"fmt"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host/capability/git/gittest"
)

// BenchmarkManifests reads 100 manifests of a repository on loopback, each time asking the
// server: once the commit is kept, and fetching it.
func BenchmarkManifests(b *testing.B) {
	repo := gittest.New(b, "shop.git")
	files := map[string]string{}
	for i := range 100 {
		files[fmt.Sprintf("deploy/%d.yaml", i)] = configMap(fmt.Sprintf("c%d", i))
	}
	repo.Commit(files)
	r := open(b, sourceAt(gittest.Serve(b, repo.Root), "shop", "/shop.git"))
	for name, kept := range map[string]bool{"kept": true, "fetched": false} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if !kept {
					r.git.cache.dir = b.TempDir()
				}
				if got := get[gotManifests](r, "git://shop?path=deploy&as=manifests"); len(got.Objects) != 100 {
					b.Fatalf("%d objects", len(got.Objects))
				}
			}
		})
	}
}
