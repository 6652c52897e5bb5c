package manifest_test

import (
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

func ExampleParse() {
	m, err := manifest.Parse([]byte(`{"name": "hello", "version": "0.1.0",
	  "routes": [{"name": "hello", "method": "GET", "path": "/hello", "action": "hello.read"}]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.Name, m.Routes[0].Path)

	_, err = manifest.Parse([]byte(`{"name": "hello", "version": "0.1.0", "rutes": []}`))
	fmt.Println(err != nil)
	// Output:
	// hello /hello
	// true
}
