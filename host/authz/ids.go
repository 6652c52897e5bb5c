package authz

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"sync"
	"sync/atomic"
)

// ids makes decision ids: a random part for the process and a number. It makes a block of
// them at a time, so that an id needs no allocation.
type ids struct {
	prefix string
	last   atomic.Uint64
	blocks sync.Pool
}

const idsPerBlock = 64

type idBlock struct {
	text  string
	width int
	used  int
}

func newIDs() *ids {
	var random [9]byte
	rand.Read(random[:]) // never fails
	return &ids{prefix: base64.RawURLEncoding.EncodeToString(random[:])}
}

func (g *ids) next() string {
	b, _ := g.blocks.Get().(*idBlock)
	if b == nil || b.used == idsPerBlock {
		b = g.block()
	}
	at := b.used * b.width
	b.used++
	id := b.text[at : at+b.width]
	g.blocks.Put(b)
	return id
}

func (g *ids) block() *idBlock {
	first := g.last.Add(idsPerBlock) - idsPerBlock
	width := len(g.prefix) + 1 + 16
	var text strings.Builder
	text.Grow(idsPerBlock * width)
	var number [8]byte
	var digits [16]byte
	for i := range uint64(idsPerBlock) {
		binary.BigEndian.PutUint64(number[:], first+i)
		hex.Encode(digits[:], number[:])
		text.WriteString(g.prefix)
		text.WriteByte('-')
		text.Write(digits[:])
	}
	return &idBlock{text: text.String(), width: width}
}
