package helm

import (
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func TestAReleaseIsBusyUntilItsOperationIsDone(t *testing.T) {
	var b busy
	web := &request{cluster: "dev", namespace: "shop", release: "web"}
	by := &claim{Action: "upgrade", User: "eve@example.com", Since: time.Unix(1e9, 0)}
	done, err := b.begin(web, by)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.begin(web, by); host.KindOf(err) != host.Conflict || !strings.Contains(err.Error(), "upgrade by eve@example.com since 2001-09-09T01:46:40Z") {
		t.Errorf("a second operation: %v", err)
	}
	for _, other := range []*request{
		{cluster: "prod", namespace: "shop", release: "web"}, {cluster: "dev", namespace: "bank", release: "web"}, {cluster: "dev", namespace: "shop", release: "api"},
	} {
		release, err := b.begin(other, by)
		if err != nil {
			t.Errorf("%+v: %v", other, err)
			continue
		}
		release()
	}
	done()
	if _, err := b.begin(web, by); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
