// Command json is the plugin of the sandbox's measurements that does what most
// plugins do: read JSON, select, answer with JSON.
package main

import (
	"encoding/json"
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
)

type release struct {
	Name      string   `json:"name"`
	Namespace string   `json:"namespace"`
	Revision  int      `json:"revision"`
	Status    string   `json:"status"`
	Labels    []string `json:"labels,omitempty"`
}

func init() {
	sdk.Handle("releases", deployed)
	sdk.WarmJSON([]release{})
}

func main() {}

func deployed(r *sdk.Request) (*sdk.Response, error) {
	var list []release
	if err := json.Unmarshal(r.Body(), &list); err != nil {
		return nil, sdk.Errorf(400, "not a list of releases")
	}
	list = slices.DeleteFunc(list, func(r release) bool { return r.Status != "deployed" })
	out, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	return sdk.Bytes(200, "application/json", out), nil
}
