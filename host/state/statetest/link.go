package statetest

import (
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Link is one host's connections to a cluster. Its endpoints forward to the
// members until the test holds or cuts them. It is safe for concurrent use.
type Link struct {
	Endpoints []string

	toMembers, fromMembers gate
	watches                gate

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]struct{}
}

// gate lets pass while it is open.
type gate struct {
	mu   sync.Mutex
	held chan struct{} // nil while open
}

func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held == nil {
		g.held = make(chan struct{})
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held != nil {
		close(g.held)
		g.held = nil
	}
}

func (g *gate) pass(ended <-chan struct{}) {
	g.mu.Lock()
	held := g.held
	g.mu.Unlock()
	if held == nil {
		return
	}
	select {
	case <-held:
	case <-ended:
	}
}

// HoldToMembers keeps what the host sends from arriving, while connections stay
// and answers pass; HoldFromMembers the other way round.
func (l *Link) HoldToMembers()   { l.toMembers.hold() }
func (l *Link) HoldFromMembers() { l.fromMembers.hold() }

// HoldWatches keeps what watches bring from arriving, while everything else
// passes. It needs a link of LinkCalls.
func (l *Link) HoldWatches() { l.watches.hold() }

// Cut breaks all connections and refuses new ones.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	for c := range l.conns {
		_ = c.Close()
	}
}

// Heal lets everything pass again.
func (l *Link) Heal() {
	l.mu.Lock()
	l.cut = false
	l.mu.Unlock()
	l.toMembers.open()
	l.fromMembers.open()
	l.watches.open()
}

// Link makes connections that forward bytes.
func (c *Cluster) Link(t testing.TB) *Link {
	t.Helper()
	l := &Link{conns: make(map[net.Conn]struct{})}
	ended := make(chan struct{})
	var running sync.WaitGroup
	var listeners []net.Listener
	for _, endpoint := range c.Endpoints {
		u, err := url.Parse(endpoint)
		if err != nil {
			t.Fatal(err)
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, listener)
		l.Endpoints = append(l.Endpoints, u.Scheme+"://"+listener.Addr().String())
		running.Go(func() { l.accept(listener, u.Host, ended, &running) })
	}
	t.Cleanup(func() {
		close(ended)
		for _, listener := range listeners {
			_ = listener.Close()
		}
		l.Cut()
		running.Wait()
	})
	return l
}

func (l *Link) accept(listener net.Listener, target string, ended <-chan struct{}, running *sync.WaitGroup) {
	for {
		host, err := listener.Accept()
		if err != nil {
			return
		}
		member, err := net.Dial("tcp", target)
		if err != nil || !l.enter(host, member) {
			_ = host.Close()
			if member != nil {
				_ = member.Close()
			}
			continue
		}
		over := func() { l.leave(host, member) }
		running.Go(func() { forward(member, host, &l.toMembers, ended); over() })
		running.Go(func() { forward(host, member, &l.fromMembers, ended); over() })
	}
}

func (l *Link) enter(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		l.conns[c] = struct{}{}
	}
	return !l.cut
}

func (l *Link) leave(conns ...net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
		delete(l.conns, c)
	}
}

func forward(to io.Writer, from io.Reader, g *gate, ended <-chan struct{}) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		g.pass(ended)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// LinkCalls makes connections that forward gRPC calls, so that watches can be
// held alone. It has one endpoint, for the first member.
func (c *Cluster) LinkCalls(t testing.TB) *Link {
	t.Helper()
	u, err := url.Parse(c.Endpoints[0])
	if err != nil {
		t.Fatal(err)
	}
	member, err := grpc.NewClient(u.Host, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &Link{Endpoints: []string{"http://" + listener.Addr().String()}}
	server := grpc.NewServer(grpc.ForceServerCodecV2(raw{}), grpc.UnknownServiceHandler(func(_ any, host grpc.ServerStream) error {
		return l.relay(host, member)
	}))
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		l.Heal()
		server.Stop()
		_ = member.Close()
		running.Wait()
	})
	return l
}

// relay passes one call on as it is.
func (l *Link) relay(host grpc.ServerStream, member *grpc.ClientConn) error {
	method, ok := grpc.MethodFromServerStream(host)
	if !ok {
		return status.Error(codes.Internal, "no method")
	}
	ctx := host.Context()
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, md)
	}
	desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	up, err := member.NewStream(ctx, desc, method, grpc.ForceCodecV2(raw{}))
	if err != nil {
		return err
	}
	go func() {
		for {
			var m mem.BufferSlice
			if err := host.RecvMsg(&m); err != nil {
				if errors.Is(err, io.EOF) {
					_ = up.CloseSend()
				}
				return
			}
			if up.SendMsg(m) != nil {
				return
			}
		}
	}()
	for {
		var m mem.BufferSlice
		if err := up.RecvMsg(&m); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if method == "/etcdserverpb.Watch/Watch" {
			l.watches.pass(host.Context().Done())
		}
		if err := host.SendMsg(m); err != nil {
			return err
		}
	}
}

// raw leaves messages as the bytes they are.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(mem.BufferSlice)
	if !ok {
		return nil, status.Error(codes.Internal, "not raw")
	}
	return m, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	data.Ref()
	*v.(*mem.BufferSlice) = data
	return nil
}
