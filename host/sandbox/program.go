package sandbox

import (
	"context"
	"encoding/binary"
)

// Program is what a WASI command (WASI preview 1, application ABI) finds in one call.
type Program struct {
	Args  []string // the first one is the program's name
	Env   []string // NAME=VALUE
	Stdin []byte   // what is left of it
	// Stdout gets what the guest writes, which is valid until it returns. It may call
	// Stop.
	Stdout func(p []byte)
}

func (p *Program) args() []string { return p.Args }
func (p *Program) env() []string  { return p.Env }

// list returns the texts of the call's program, none without one.
func (w *wasi) list(ctx context.Context, of func(*Program) []string) []string {
	if p := w.program(ctx); p != nil {
		return of(p)
	}
	return nil
}

// sizes is args_sizes_get or environ_sizes_get: (count, bytes).
func (w *wasi) sizes(of func(*Program) []string) func(context.Context, Memory, []uint64) uint64 {
	return func(ctx context.Context, m Memory, s []uint64) uint64 {
		list, total := w.list(ctx, of), 0
		for _, text := range list {
			total += len(text) + 1
		}
		if !m.mem.WriteUint32Le(uint32(s[0]), uint32(len(list))) || !m.mem.WriteUint32Le(uint32(s[1]), uint32(total)) {
			return errnoFault
		}
		return errnoSuccess
	}
}

// texts is args_get or environ_get: (pointers, bytes). Each text ends with a zero.
func (w *wasi) texts(of func(*Program) []string) func(context.Context, Memory, []uint64) uint64 {
	return func(ctx context.Context, m Memory, s []uint64) uint64 {
		at := uint32(s[1])
		var pointers, data []byte
		for _, text := range w.list(ctx, of) {
			pointers = binary.LittleEndian.AppendUint32(pointers, at+uint32(len(data)))
			data = append(append(data, text...), 0)
		}
		if !m.Write(uint32(s[0]), pointers) || !m.Write(at, data) {
			return errnoFault
		}
		return errnoSuccess
	}
}

// fdRead reads the standard input of a Program.
func (w *wasi) fdRead(ctx context.Context, m Memory, s []uint64) uint64 {
	p := w.program(ctx)
	if s[0] != 0 || p == nil {
		return errnoBadf
	}
	if s[2] > maxIovs {
		return errnoInval
	}
	var total uint32
	for k := range uint32(s[2]) {
		ptr, ok1 := m.mem.ReadUint32Le(uint32(s[1]) + 8*k)
		size, ok2 := m.mem.ReadUint32Le(uint32(s[1]) + 8*k + 4)
		if !ok1 || !ok2 {
			return errnoFault
		}
		n := min(uint64(size), uint64(len(p.Stdin)))
		if !m.Write(ptr, p.Stdin[:n]) {
			return errnoFault
		}
		p.Stdin = p.Stdin[n:]
		if total += uint32(n); len(p.Stdin) == 0 {
			break
		}
	}
	if !m.mem.WriteUint32Le(uint32(s[3]), total) {
		return errnoFault
	}
	return errnoSuccess
}
