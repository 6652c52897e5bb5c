package sdk_test

import (
	"errors"
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/sdk"
	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
)

// A plugin registers its handlers in init, under the names that its manifest
// gives to the routes.
func ExampleHandle() {
	type order struct {
		Item  string `json:"item"`
		Count int    `json:"count"`
	}
	sdk.Handle("order", func(r *sdk.Request) (*sdk.Response, error) {
		var o order
		if err := r.JSON(&o); err != nil {
			return nil, err // 400 for the client
		}
		if o.Count < 1 {
			return nil, sdk.Errorf(422, "count must be 1 or more")
		}
		return sdk.JSON(201, map[string]any{"item": o.Item, "by": r.User()})
	})
}

// OnStart runs once, before the first request, with the operator's config. What
// it leaves in package variables is there in every request.
func ExampleOnStart() {
	var config struct {
		Greeting string `json:"greeting"`
	}
	sdk.OnStart(func(s *sdk.Start) error {
		sdk.WarmJSON(&config)
		return s.Config(&config)
	})
}

func ExampleRequest_Query() {
	r := sdk.NewRequest(&abi.Request{Method: "GET", URL: "/pods?namespace=shop&limit=5"})
	fmt.Println(r.Path(), r.Query("namespace"), r.Query("limit"), r.Query("absent") == "")
	// Output: /pods shop 5 true
}

func ExampleJSON() {
	resp, err := sdk.JSON(200, []string{"web", "db"})
	if err != nil {
		panic(err)
	}
	fmt.Println(resp.Status, string(resp.Body))
	// Output: 200 ["web","db"]
}

func ExampleErrorf() {
	err := sdk.Errorf(409, "the release %q is being changed", "web")
	if e, ok := errors.AsType[*sdk.Error](err); ok {
		fmt.Println(e.Status, e.Message)
	}
	// Output: 409 the release "web" is being changed
}
