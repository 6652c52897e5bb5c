package gateway_test

import (
	"context"
	"strings"
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
)

// noPlugins is a replica that can run none.
type noPlugins struct{}

var errNone = host.E(host.Unprocessable, "", "this replica runs no plugin")

func (noPlugins) Swap(context.Context, plugin.Swap) (*plugin.Report, error)  { return nil, errNone }
func (noPlugins) Check(context.Context, plugin.Swap) (*plugin.Report, error) { return nil, errNone }
func (noPlugins) Approve(context.Context, string, string) (*plugin.Report, error) {
	return nil, errNone
}
func (noPlugins) Promote(string) error                 { return errNone }
func (noPlugins) Remove(context.Context, string) error { return errNone }
func (noPlugins) Retain(plugin.Origin, []string)       {}
func (noPlugins) Verify(context.Context, string) error { return errNone }
func (noPlugins) Suspend(string)                       {}
func (noPlugins) Status() []plugin.Status              { return nil }
func (noPlugins) Changed() <-chan struct{}             { return nil }

// noPackages allows no reference.
type noPackages struct{}

func (noPackages) Package(string, string) (artifact.Package, error) {
	return artifact.Package{}, errNone
}
func (noPackages) Resolve(context.Context, string, string, string) (*artifact.Artifact, error) {
	return nil, errNone
}
func (noPackages) Catalogs(context.Context) []*artifact.Catalog { return nil }
func (noPackages) StopUnverified() bool                         { return false }

// By the roles that ship, plugins are the administrators' to see on replicas and to
// change.
func TestAdministratorsAloneChangePlugins(t *testing.T) {
	s := open(t)
	for request, status := range map[string]int{
		"PUT /api/admin/plugins/echo": 422, "PUT /api/admin/plugins/echo?dryRun=true": 422, "POST /api/admin/plugins/echo/promote": 404, "POST /api/admin/plugins/echo/approve": 404,
		"POST /api/admin/plugins/echo/rollback": 404, "DELETE /api/admin/plugins/echo": 404, "POST /api/admin/uploads": 201,
	} {
		method, path, _ := strings.Cut(request, " ")
		body := `{"digest":"sha256:1"}`
		switch {
		case strings.HasSuffix(path, "/promote") || method == "DELETE":
			body = `{}`
		case strings.HasSuffix(path, "/approve"):
			body = `{"consent":"sha256:1"}`
		}
		for _, name := range []string{"vic", "eve"} {
			if got := s.as(t, name).Do(method, path, body); got.Status != 403 {
				t.Errorf("%s of %s: %v", request, name, got)
			}
		}
		if got := s.as(t, "ann").Do(method, path, body); got.Status != status {
			t.Errorf("%s of an administrator: %v, want %d", request, got, status)
		}
	}
	for name, status := range map[string]int{"vic": 403, "eve": 403, "ann": 200} {
		for _, path := range []string{"/api/admin/plugins", "/api/admin/catalog"} {
			if got := s.as(t, name).Do("GET", path, ""); got.Status != status {
				t.Errorf("%s, for %s: %v", path, name, got)
			}
		}
	}
}
