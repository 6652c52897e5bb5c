// Mute has a socket route and no session handler.
package main

import "github.com/seed-a3fb47d6/bulkhead/sdk"

func init() {
	sdk.Handle("talk", func(*sdk.Request) (*sdk.Response, error) { return nil, nil })
}

func main() {}
