package main

import "github.com/seed-a3fb47d6/bulkhead/sdk"

func init() {
	sdk.Handle("hello", func(r *sdk.Request) (*sdk.Response, error) {
		return sdk.Text(200, "hello "+r.User()), nil
	})
}

func main() {}
