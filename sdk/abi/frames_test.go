package abi

import (
	"bytes"
	"testing"
)

func TestAHeadAndItsTailAreTheFrame(t *testing.T) {
	for _, body := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("long"), 1000)} {
		r := &Response{Status: 404, Header: []Pair{{Name: "Content-Type", Value: "text/plain"}}, Body: body}
		if got := append(AppendResponseHead(nil, r), body...); !bytes.Equal(got, AppendResponse(nil, r)) {
			t.Errorf("response with %d bytes: %x", len(body), got)
		}
		m := &Message{Kind: MessageBinary, Data: body}
		if got := append(AppendMessageHead(nil, m), body...); !bytes.Equal(got, AppendMessage(nil, m)) {
			t.Errorf("message of %d bytes: %x", len(body), got)
		}
	}
}
