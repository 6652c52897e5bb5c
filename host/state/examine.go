package state

import (
	"context"
	"log/slog"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Examination is what an etcd cluster answers.
type Examination struct {
	Members []Member
	// Took is how long a linearizable read of the prefix took.
	Took time.Duration
}

// Member is one endpoint of the configuration.
type Member struct {
	Endpoint string
	Version  string
	Bytes    int64 // of its database
	Problem  string
}

// memberTimeout bounds the question to one member.
const memberTimeout = 3 * time.Second

// Examine asks the etcd cluster of o, which must have endpoints, and changes nothing. The
// error says why the state could not be read there.
func Examine(ctx context.Context, o Options) (*Examination, error) {
	client, err := o.newClient(slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	x := &Examination{}
	for _, endpoint := range o.Endpoints {
		m := Member{Endpoint: endpoint}
		asked, cancel := context.WithTimeout(ctx, memberTimeout)
		if s, err := client.Status(asked, endpoint); err != nil {
			m.Problem = "does not answer: " + err.Error()
		} else {
			m.Version, m.Bytes = s.Version, s.DbSize
			for _, why := range s.Errors {
				m.Problem = why
			}
		}
		cancel()
		x.Members = append(x.Members, m)
	}
	ctx, cancel := context.WithTimeout(ctx, firstAnswer)
	defer cancel()
	began := time.Now()
	if _, err := client.Get(ctx, o.prefix(), clientv3.WithPrefix(), clientv3.WithCountOnly()); err != nil {
		return nil, o.unreachable(err)
	}
	x.Took = time.Since(began)
	return x, nil
}
