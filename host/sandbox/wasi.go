package sandbox

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/tetratelabs/wazero/sys"
)

// WASI preview 1 (wasi_snapshot_preview1), as far as a guest needs it to start and to
// measure time: clocks, random numbers, sleep, and output that becomes log lines; and what
// a command gets from Spec.Program (program.go). Files and sockets do not exist; their
// functions link and return an error.
const wasiModule = "wasi_snapshot_preview1"

// Error numbers of WASI preview 1.
const (
	errnoSuccess = 0
	errnoBadf    = 8
	errnoFault   = 21
	errnoInval   = 28
	errnoNosys   = 52
	errnoNotsup  = 58
)

const (
	maxIovs   = 1024     // of one fd_write
	maxRandom = 64 << 10 // bytes between two checks of the context
	// iovCost is what a buffer of fd_write costs, also an empty one, as if so many bytes
	// were moved.
	iovCost = 64
	// maxRecords is the number of lines of one call that are logged. A line may be
	// empty.
	maxRecords = 256
)

type wasi struct {
	log      func(context.Context, string)
	logBytes int
	program  func(context.Context) *Program // never nil; its result may be
}

func wasiImports(spec *Spec) []Import {
	w := &wasi{spec.Log, spec.Limits.LogBytes, spec.Program}
	if w.program == nil {
		w.program = func(context.Context) *Program { return nil }
	}
	imports := []Import{
		w.fn("args_sizes_get", w.sizes((*Program).args), I32, I32),
		w.fn("args_get", w.texts((*Program).args), I32, I32),
		w.fn("environ_sizes_get", w.sizes((*Program).env), I32, I32),
		w.fn("environ_get", w.texts((*Program).env), I32, I32),
		w.fn("clock_res_get", w.clockRes, I32, I32),
		w.fn("clock_time_get", w.clockTime, I32, I64, I32),
		w.fn("random_get", w.random, I32, I32),
		w.fn("sched_yield", succeed),
		w.fn("poll_oneoff", w.poll, I32, I32, I32, I32),
		w.fn("fd_write", w.fdWrite, I32, I32, I32, I32),
		w.fn("fd_read", w.fdRead, I32, I32, I32, I32),
		w.fn("fd_fdstat_get", w.fdStat, I32, I32),
		{Module: wasiModule, Name: "proc_exit", Signature: Signature{Params: []Type{I32}},
			Call: func(_ context.Context, _ Memory, s []uint64) { panic(sys.NewExitError(uint32(s[0]))) }},
	}
	refusals := []struct {
		errno  uint64
		params map[string][]Type
	}{
		{errnoBadf, map[string][]Type{ // only the file descriptors 0 to 2 are open
			"fd_prestat_get": {I32, I32}, "fd_prestat_dir_name": {I32, I32, I32}, "fd_close": {I32},
			"fd_seek": {I32, I64, I32, I32}, "fd_tell": {I32, I32},
		}},
		{errnoNosys, map[string][]Type{
			"fd_advise": {I32, I64, I64, I32}, "fd_allocate": {I32, I64, I64}, "fd_datasync": {I32},
			"fd_fdstat_set_flags": {I32, I32}, "fd_fdstat_set_rights": {I32, I64, I64},
			"fd_filestat_get": {I32, I32}, "fd_filestat_set_size": {I32, I64},
			"fd_filestat_set_times": {I32, I64, I64, I32}, "fd_pread": {I32, I32, I32, I64, I32},
			"fd_pwrite": {I32, I32, I32, I64, I32}, "fd_readdir": {I32, I32, I32, I64, I32},
			"fd_renumber": {I32, I32}, "fd_sync": {I32}, "path_create_directory": {I32, I32, I32},
			"path_filestat_get":       {I32, I32, I32, I32, I32},
			"path_filestat_set_times": {I32, I32, I32, I32, I64, I64, I32},
			"path_link":               {I32, I32, I32, I32, I32, I32, I32},
			"path_open":               {I32, I32, I32, I32, I32, I64, I64, I32, I32},
			"path_readlink":           {I32, I32, I32, I32, I32, I32}, "path_remove_directory": {I32, I32, I32},
			"path_rename": {I32, I32, I32, I32, I32, I32}, "path_symlink": {I32, I32, I32, I32, I32},
			"path_unlink_file": {I32, I32, I32}, "proc_raise": {I32},
		}},
		{errnoNotsup, map[string][]Type{
			"sock_accept": {I32, I32, I32}, "sock_recv": {I32, I32, I32, I32, I32, I32},
			"sock_send": {I32, I32, I32, I32, I32}, "sock_shutdown": {I32, I32},
		}},
	}
	for _, r := range refusals {
		for name, params := range r.params {
			imports = append(imports, w.fn(name, func(context.Context, Memory, []uint64) uint64 { return r.errno }, params...))
		}
	}
	return imports
}

func (w *wasi) fn(name string, call func(context.Context, Memory, []uint64) uint64, params ...Type) Import {
	return Import{
		Module: wasiModule, Name: name,
		Signature: Signature{Params: params, Results: []Type{I32}},
		Call: func(ctx context.Context, m Memory, stack []uint64) {
			result := call(ctx, m, stack)
			stack[0] = result
		},
	}
}

func succeed(context.Context, Memory, []uint64) uint64 { return errnoSuccess }

func (w *wasi) clockRes(_ context.Context, m Memory, s []uint64) uint64 {
	if s[0] > 1 {
		return errnoInval
	}
	return write64(m, uint32(s[1]), 1000)
}

var processStart = time.Now()

func (w *wasi) clockTime(_ context.Context, m Memory, s []uint64) uint64 {
	switch s[0] {
	case 0: // realtime
		return write64(m, uint32(s[2]), uint64(time.Now().UnixNano()))
	case 1: // monotonic; never 0, which Go's runtime treats as a failure
		return write64(m, uint32(s[2]), uint64(time.Since(processStart))+1)
	}
	return errnoInval
}

func write64(m Memory, ptr uint32, v uint64) uint64 {
	if !m.mem.WriteUint64Le(ptr, v) {
		return errnoFault
	}
	return errnoSuccess
}

func (w *wasi) random(ctx context.Context, m Memory, s []uint64) uint64 {
	view, ok := m.mem.Read(uint32(s[0]), uint32(s[1]))
	if !ok {
		return errnoFault
	}
	for len(view) > 0 { // filling all of a guest's memory takes long
		checkContext(ctx)
		n := min(len(view), maxRandom)
		m.of.meter.moved(n)
		rand.Read(view[:n]) // never fails (crypto/rand)
		view = view[n:]
	}
	return errnoSuccess
}

// Layout of poll_oneoff's subscription and event.
const (
	subscriptionSize = 48
	eventSize        = 32
	eventClock       = 0
	clockAbsolute    = 1
)

// poll implements the one form that is useful without files: sleeping until the first of
// the clocks. It ends with the call's context. Subscriptions to descriptors are answered
// as not supported.
func (w *wasi) poll(ctx context.Context, m Memory, s []uint64) uint64 {
	in, out, n, result := uint32(s[0]), uint32(s[1]), uint32(s[2]), uint32(s[3])
	if n == 0 || n > maxIovs {
		return errnoInval
	}
	subs, ok := m.Copy(in, n*subscriptionSize)
	if !ok {
		return errnoFault
	}
	wait, first := time.Duration(-1), -1
	for k := range int(n) {
		sub := subs[k*subscriptionSize:]
		if sub[8] != eventClock {
			continue
		}
		d := clockTimeout(sub)
		if first < 0 || d < wait {
			wait, first = d, k
		}
	}
	if first < 0 {
		return errnoNotsup
	}
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			checkContext(ctx)
		}
	}
	var event [eventSize]byte
	copy(event[:8], subs[first*subscriptionSize:]) // user data
	if !m.Write(out, event[:]) || !m.mem.WriteUint32Le(result, 1) {
		return errnoFault
	}
	return errnoSuccess
}

func clockTimeout(sub []byte) time.Duration {
	at := binary.LittleEndian.Uint64(sub[24:])
	if binary.LittleEndian.Uint16(sub[40:])&clockAbsolute != 0 {
		now := uint64(time.Now().UnixNano())
		if binary.LittleEndian.Uint32(sub[16:]) == 1 {
			now = uint64(time.Since(processStart)) + 1
		}
		if at <= now {
			return 0
		}
		at -= now
	}
	return time.Duration(min(at, 1<<62))
}

// fdStat reports that the descriptors 0 to 2 are character devices; those of a Program are
// of unknown type, as pipes are, so that its output is not flushed at each line.
func (w *wasi) fdStat(ctx context.Context, m Memory, s []uint64) uint64 {
	if s[0] > 2 {
		return errnoBadf
	}
	var stat [24]byte
	if w.program(ctx) == nil {
		stat[0] = 2 // character_device
	}
	if !m.Write(uint32(s[1]), stat[:]) {
		return errnoFault
	}
	return errnoSuccess
}

// fdWrite accepts stdout and stderr, line by line, up to the call's limits of bytes and
// lines. Output beyond them counts as written and is dropped. The stdout of a Program is
// passed on instead.
func (w *wasi) fdWrite(ctx context.Context, m Memory, s []uint64) uint64 {
	if s[0] != 1 && s[0] != 2 {
		return errnoBadf
	}
	if s[2] > maxIovs {
		return errnoInval
	}
	i := caller(ctx)
	program := w.program(ctx)
	var total uint32
	for k := range uint32(s[2]) {
		ptr, ok1 := m.mem.ReadUint32Le(uint32(s[1]) + 8*k)
		size, ok2 := m.mem.ReadUint32Le(uint32(s[1]) + 8*k + 4)
		if !ok1 || !ok2 {
			return errnoFault
		}
		view, ok := m.mem.Read(ptr, size)
		if !ok {
			return errnoFault
		}
		total += size
		i.meter.moved(iovCost)
		if program != nil && s[0] == 1 {
			i.meter.moved(len(view))
			program.Stdout(view)
			continue
		}
		i.write(ctx, view[:min(len(view), max(0, w.logBytes-i.logged))])
		full := i.logged+len(view) >= w.logBytes || i.records >= maxRecords
		if full && i.logged < w.logBytes {
			if i.records >= maxRecords {
				i.line = i.line[:0]
			}
			i.flush(ctx)
			w.emit(ctx, "(more output was dropped)")
			i.logged = w.logBytes
		}
		i.logged += len(view)
	}
	if !m.mem.WriteUint32Le(uint32(s[3]), total) {
		return errnoFault
	}
	return errnoSuccess
}

func (w *wasi) emit(ctx context.Context, line string) {
	if w.log != nil {
		w.log(ctx, line)
	}
}

// write logs complete lines and keeps the rest. The trace of a Go guest, which is its last
// output, is logged as one record.
func (i *Instance) write(ctx context.Context, p []byte) {
	if len(p) == 0 {
		return // a line that is kept is not searched again
	}
	i.line = append(i.line, p...)
	for i.records < maxRecords {
		line, rest, found := bytes.Cut(i.line, []byte("\n"))
		if !found || bytes.HasPrefix(line, []byte("panic: ")) || bytes.HasPrefix(line, []byte("fatal error: ")) {
			return
		}
		i.emit(ctx, line)
		i.records++
		i.line = append(i.line[:0], rest...)
	}
}

func (i *Instance) flush(ctx context.Context) {
	if len(i.line) > 0 {
		i.emit(ctx, bytes.TrimRight(i.line, "\n"))
		i.line = i.line[:0]
	}
}

func (i *Instance) emit(ctx context.Context, line []byte) {
	if log := i.module.spec.Log; log != nil {
		log(ctx, string(line))
	}
}
