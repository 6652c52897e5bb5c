package nodes

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/kwok/pkg/apis/internalversion"
	"sigs.k8s.io/kwok/pkg/apis/v1alpha1"
	"sigs.k8s.io/kwok/pkg/client/clientset/versioned"
	"sigs.k8s.io/kwok/pkg/kwok/controllers"
	"sigs.k8s.io/kwok/pkg/log"
	kwokclient "sigs.k8s.io/kwok/pkg/utils/client"
)

//go:embed stages.yaml
var stagesYAML []byte

// Start plays every node of the cluster until ctx ends. All of them say that their kubelet listens on the given port of
// 127.0.0.1.
func Start(ctx context.Context, kubeconfig string, kubeletPort int, logs io.Writer) error {
	ctx = log.NewContext(ctx, log.NewLogger(logs, log.LevelWarn))
	stages, err := parseStages(stagesYAML)
	if err != nil {
		return fmt.Errorf("stages.yaml: %w", err)
	}
	cfg := controllers.Config{
		Clock:                     clock.RealClock{},
		ManageAllNodes:            true,
		CIDR:                      "10.244.0.0/16",
		NodeIP:                    "127.0.0.1",
		NodePort:                  kubeletPort,
		LocalStages:               stages,
		PodPlayStageParallelism:   4,
		NodePlayStageParallelism:  1,
		PodsOnNodeSyncParallelism: 1,
		// No leases: they would make a restart wait until those of the previous process have run out.
		NodeLeaseDurationSeconds: 0,
	}
	if err := connect(&cfg, kubeconfig); err != nil {
		return err
	}
	if cfg.ID, err = controllers.Identity(); err != nil {
		return err
	}
	c, err := controllers.NewController(cfg)
	if err != nil {
		return err
	}
	return c.Start(ctx)
}

func connect(cfg *controllers.Config, kubeconfig string) error {
	clients, err := kwokclient.NewClientset("", kubeconfig)
	if err != nil {
		return err
	}
	restConfig, err := clients.ToRESTConfig()
	if err != nil {
		return err
	}
	cfg.ImpersonatingDynamicClient = clients.ToImpersonatingDynamicClient()
	cfg.ImpersonatingTypedClient = clients.ToImpersonatingTypedClient()
	var errs [5]error
	cfg.DynamicClient, errs[0] = clients.ToDynamicClient()
	cfg.RESTMapper, errs[1] = clients.ToRESTMapper()
	cfg.RESTClient, errs[2] = rest.RESTClientFor(restConfig)
	cfg.TypedClient, errs[3] = kubernetes.NewForConfig(restConfig)
	cfg.TypedKwokClient, errs[4] = versioned.NewForConfig(restConfig)
	return errors.Join(errs[:]...)
}

func parseStages(text []byte) (map[internalversion.StageResourceRef][]*internalversion.Stage, error) {
	byKind := map[internalversion.StageResourceRef][]*internalversion.Stage{}
	documents := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		var stage v1alpha1.Stage
		if err := documents.Decode(&stage); errors.Is(err, io.EOF) {
			return byKind, nil
		} else if err != nil {
			return nil, err
		}
		s, err := internalversion.ConvertToInternalStage(&stage)
		if err != nil {
			return nil, err
		}
		byKind[s.Spec.ResourceRef] = append(byKind[s.Spec.ResourceRef], s)
	}
}
