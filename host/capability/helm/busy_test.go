package helm

import (
	"testing"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func TestAReleaseIsBusyUntilItsOperationIsDone(t *testing.T) {
	var b busy
	web := &request{cluster: "dev", namespace: "shop", release: "web"}
	done, err := b.begin(web)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.begin(web); host.KindOf(err) != host.Conflict {
		t.Errorf("a second operation: %v", err)
	}
	for _, other := range []*request{
		{cluster: "prod", namespace: "shop", release: "web"}, {cluster: "dev", namespace: "bank", release: "web"}, {cluster: "dev", namespace: "shop", release: "api"},
	} {
		release, err := b.begin(other)
		if err != nil {
			t.Errorf("%+v: %v", other, err)
			continue
		}
		release()
	}
	done()
	if _, err := b.begin(web); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
