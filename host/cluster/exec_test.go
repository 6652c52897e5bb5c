package cluster

import (
	"errors"
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/streaming/pkg/httpstream"
)

func TestSPDYIsTriedWhenAWebSocketIsRefused(t *testing.T) {
	answered := func(code int32) error {
		return &httpstream.UpgradeFailureError{Cause: &apierrors.StatusError{ErrStatus: metav1.Status{Code: code, Message: "as the API server says"}}}
	}
	for name, c := range map[string]struct {
		err  error
		spdy bool
	}{
		"forbidden":          {answered(http.StatusForbidden), true},
		"no such method":     {answered(http.StatusMethodNotAllowed), true},
		"not implemented":    {answered(http.StatusNotImplemented), true},
		"a proxy's answer":   {&httpstream.UpgradeFailureError{Cause: errors.New("unable to upgrade: 502 Bad Gateway")}, true},
		"no such pod":        {answered(http.StatusNotFound), false},
		"the pod has ended":  {answered(http.StatusConflict), false},
		"a malformed answer": {answered(http.StatusInternalServerError), false},
		"not an upgrade":     {errors.New("connection refused"), false},
	} {
		if got := needsSPDY(c.err); got != c.spdy {
			t.Errorf("%s: %v", name, got)
		}
	}
}
