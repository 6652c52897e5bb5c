package git_test

import (
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/sdk/git"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guesttest"
)

func ExampleRepository_Manifests() {
	defer guesttest.Answer(`{"form": "manifests", "objects": [{"file": "web.yaml", "line": 1, "object": {"kind": "Deployment"}}]}`)()

	m, err := git.At("https://git.example.com/shop/web.git").Manifests(git.Branch("main"), "deploy")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, o := range m.Objects {
		fmt.Printf("%s:%d %s\n", o.File, o.Line, o.Object)
	}
	// Output: web.yaml:1 {"kind": "Deployment"}
}
