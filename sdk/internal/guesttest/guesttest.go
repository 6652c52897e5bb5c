//go:build !wasip1

// Package guesttest stands in for the host in examples, which have no test to run a harness of
// sdktest in.
package guesttest

import (
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/sdk/abi"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guest"
)

// Answer makes every capability call have an answer with this body, and prints log records. The
// caller calls restore.
func Answer(body string) (restore func()) {
	before := guest.Native
	guest.Native = &host{Host: before, body: body}
	return func() { guest.Native = before }
}

type host struct {
	guest.Host
	body string
	kept []byte
}

func (h *host) Fetch(_ string, _, resp []byte) int64 {
	return h.answer(resp, &abi.Response{Status: 200, Body: []byte(h.body)})
}

func (h *host) Open(_ string, _, resp []byte) int64 {
	return h.answer(resp, &abi.Response{Status: 200, Header: []abi.Pair{{Name: abi.HeaderStream, Value: "1"}}})
}

func (h *host) answer(resp []byte, r *abi.Response) int64 {
	h.kept = abi.AppendResponse(nil, r)
	if len(h.kept) <= len(resp) {
		copy(resp, h.kept)
	}
	return int64(len(h.kept))
}

// Take implements guest.Host.
func (h *host) Take(buf []byte) int64 { return int64(copy(buf, h.kept)) }

// Write implements guest.Host.
func (h *host) Write(level int32, text string) { fmt.Println(level, text) }

// Record implements guest.Host.
func (h *host) Record(level int32, text string, attributes []byte) {
	list, err := abi.DecodeAttributes(attributes)
	if err != nil {
		panic(err)
	}
	for _, p := range list {
		text += " " + p.Name + "=" + p.Value
	}
	h.Write(level, text)
}
