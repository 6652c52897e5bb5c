package server

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/capability/azure/azuretest"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/logtest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack/packtest"
)

// onAzure is a host with the azure plugin and the instances prod and dev of one
// Azure. people are YAML documents besides ada, the admin.
func onAzure(t testing.TB, f *azuretest.Fake, people string, log *slog.Logger) *world {
	t.Helper()
	w := &world{dir: t.TempDir()}
	w.write(t, "directory/people.yaml", "apiVersion: bulkhead.internal/v1\nkind: User\nmetadata: {name: ada}\nspec: {id: ada@example.com, roles: [admin]}\n"+people)
	w.write(t, "bulkhead.yaml", fmt.Sprintf(`
listen: 127.0.0.1:0
data: ./data
auth: {dev: {}}
limits: {rates: {client: -1, account: -1}}
directory: {files: ./directory}
azure: [%s, %s]
plugins:
  - name: azure
    source: %q
    grants: {azure: [{instances: ["*"], resources: ["*"], resourceGroups: ["*"], verbs: ["*"]}]}
`, f.YAML("prod"), f.YAML("dev"), packtest.Build(t, "plugins/azure")))
	c, err := Load(filepath.Join(w.dir, "bulkhead.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	shareCompiled(t, c.Data)
	end, err := w.serve(c, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Errorf("the host ended with %v", err)
		}
	})
	return w
}

var scripted = http.Header{"X-Requested-With": {"XMLHttpRequest"}}

func (a *actor) put(path string) answer { a.t.Helper(); return a.do("PUT", path, nil, scripted) }

// azureRoutes are a request for each route of the plugin, by the route's name.
var azureRoutes = map[string]struct{ path, want string }{
	"resource-groups":         {"/resourcegroups", `"name":"rg3","id":`},
	"container-groups":        {"/containerinstances/containergroups?resourceGroup=rg1&resourceGroup=rg3", `"name":"batch","resourceGroup":"rg3"`},
	"container-group":         {"/containerinstances/containergroup/details?resourceGroup=rg1&containerGroup=web", `"state":"Running","provisioningState":"Succeeded"`},
	"container-logs":          {"/containerinstances/containergroup/logs?resourceGroup=rg1&containerGroup=web&container=web&tail=2", `"logs":"line 19 of web\nline 20 of web\n"`},
	"container-group-restart": {"/containerinstances/containergroup/restart?resourceGroup=rg1&containerGroup=web", `"target":{"type":"containerinstances","resourceGroup":"rg1","name":"web"}`},
	"container-group-start":   {"/containerinstances/containergroup/start?resourceGroup=rg1&containerGroup=web", `"status":"InProgress","id":"`},
	"container-group-stop":    {"/containerinstances/containergroup/stop?resourceGroup=rg1&containerGroup=worker", `"status":"Succeeded"`},
	"managed-clusters":        {"/kubernetesservices/managedclusters", `"name":"aks-b","resourceGroup":"rg3"`},
	"managed-cluster":         {"/kubernetesservices/managedcluster/details?resourceGroup=rg1&managedCluster=aks-a", `"powerState":"Running","provisioningState":"Succeeded","version":"1.33.2"`},
	"node-pools":              {"/kubernetesservices/managedcluster/nodepools?resourceGroup=rg1&managedCluster=aks-a", `"name":"spot","mode":"System"`},
	"managed-cluster-start":   {"/kubernetesservices/managedcluster/start?resourceGroup=rg1&managedCluster=aks-b", `"status":"InProgress"`},
	"managed-cluster-stop":    {"/kubernetesservices/managedcluster/stop?resourceGroup=rg1&managedCluster=aks-b", `"status":"InProgress"`},
	"scale-sets":              {"/virtualmachinescalesets/virtualmachinescalesets", `"name":"pool","resourceGroup":"rg2"`},
	"scale-set":               {"/virtualmachinescalesets/virtualmachinescaleset/details?resourceGroup=rg1&virtualMachineScaleSet=pool", `"size":"Standard_D4s_v5","capacity":3`},
	"scale-set-vms":           {"/virtualmachinescalesets/virtualmachinescaleset/virtualmachines?resourceGroup=rg1&virtualMachineScaleSet=pool", `"instanceId":"2","powerState":"running"`},
	"scale-set-vm-restart":    {"/virtualmachinescalesets/virtualmachinescaleset/virtualmachine/restart?resourceGroup=rg1&virtualMachineScaleSet=pool&virtualMachine=1", `"status":"InProgress"`},
	"virtual-machines":        {"/virtualmachines/virtualmachines", `"name":"vm-3","resourceGroup":"rg3"`},
	"virtual-machine":         {"/virtualmachines/virtualmachine/details?resourceGroup=rg1&virtualMachine=vm-1", `"powerState":"running"`},
	"actual-cost":             {"/costmanagement/actualcost?timeframe=30&groupBy=service", `"totals":[{"cost":120,"currency":"EUR"}]`},
	"metric-definitions":      {"/monitor/metricdefinitions?resourceGroup=rg1&provider=Microsoft.ContainerInstance/containerGroups/web", `"name":"MemoryUsage","displayName":"MemoryUsage","unit":"Bytes"`},
	"metrics":                 {"/monitor/metrics?resourceGroup=rg1&provider=Microsoft.ContainerInstance/containerGroups/web&metricNames=CpuUsage&timeStart=0&timeEnd=300", `{"time":"1970-01-01T00:04:00Z","value":4}`},
}

func azureManifest(t testing.TB) *manifest.Manifest {
	t.Helper()
	text, err := os.ReadFile("../../plugins/azure/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestAzure tells its stories on one host: opening one takes seconds under the
// race detector.
func TestAzure(t *testing.T) {
	f := azuretest.Start(t)
	logged := new(logtest.Log)
	w := onAzure(t, f, teamsOfAzure()+personOfDev, slog.New(slog.NewJSONHandler(logged, &slog.HandlerOptions{Level: slog.LevelDebug})))
	for _, story := range []struct {
		name string
		tell func(*testing.T, *world, *azuretest.Fake)
	}{
		{"every route answers", everyAzureRoute},
		{"teams share by resource group", teamsShareAzure},
		{"an instance is a name that policy knows", instanceIsAName},
		{"logout ends the poll of a change", logoutEndsThePoll},
		{"errors have the uniform shape", azuresErrors},
		{"no secret is answered", noSecretIsAnswered},
	} {
		t.Run(story.name, func(t *testing.T) { story.tell(t, w, f) })
	}
	noSecretIsKept(t, w, logged)
}

func everyAzureRoute(t *testing.T, w *world, f *azuretest.Fake) {
	ada := w.as(t, "ada")
	for _, route := range azureManifest(t).Routes {
		if route.Name == "change" {
			continue // below
		}
		r, ok := azureRoutes[route.Name]
		if !ok {
			t.Errorf("route %s has no request here", route.Name)
			continue
		}
		got := ada.do(route.Method, "/api/azure/prod"+r.path, nil, scripted)
		want := 200
		if strings.Contains(got.body, `"InProgress"`) {
			want = 202
		}
		if got.status != want || !strings.Contains(got.body, r.want) {
			t.Errorf("%s: %v\nwant %s", route.Name, got, r.want)
		}
	}
	var begun, now struct{ Status, ID string }
	ada.put("/api/azure/prod"+azureRoutes["container-group-restart"].path).json(t, &begun)
	eventually(t, "the restart to end", func() bool {
		ada.get("/api/azure/prod/changes?wait=5&id="+urlEscape(begun.ID)).json(t, &now)
		return now.Status == "Succeeded"
	})
	// The name of a change is of its instance, and cannot be made up.
	for _, path := range []string{"dev/changes?id=" + urlEscape(begun.ID), "prod/changes?id=" + urlEscape(begun.ID[1:]), "prod/changes?id=x"} {
		if got := ada.get("/api/azure/" + path); got.status != 400 {
			t.Errorf("%.40s: %v", path, got)
		}
	}
}

var teamOrders = []string{"abcd", "abdc", "cabd", "dcba", "bacd", "bdca", "cbad", "dabc"}

// teamsOfAzure are team a, which may read container instances in rg1, team b,
// which may do everything with them in rg2, and others whose entries are broken
// in one way or another; and a person for each order of the teams.
func teamsOfAzure() string {
	var people strings.Builder
	for id, custom := range map[string]string{
		"a": "[{resources: [containerinstances], resourceGroups: [RG1], verbs: [get]}]",
		"b": `[{resources: [containerinstances], resourceGroups: [rg2], verbs: ["*"]}]`,
		"c": `[{resources: containerinstances, resourceGroups: [rg3], verbs: ["*"]}, {resources: ["*"], resourceGroups: 3, verbs: ["*"]}, nonsense, 7]`,
		"d": `{resources: ["*"], resourceGroups: ["*"], verbs: ["*"]}`, // no list, so the directory leaves it out
	} {
		fmt.Fprintf(&people, "---\napiVersion: bulkhead.internal/v1\nkind: Team\nmetadata: {name: %s}\nspec: {id: %s@example.com, permissions: {plugins: [{name: azure, custom: %s}]}}\n", id, id, custom)
	}
	for _, order := range teamOrders {
		var teams []string
		for _, id := range order {
			teams = append(teams, string(id)+"@example.com")
		}
		fmt.Fprintf(&people, "---\napiVersion: bulkhead.internal/v1\nkind: User\nmetadata: {name: u%s}\nspec: {id: u%s@example.com, roles: [editor], teams: [%s]}\n", order, order, strings.Join(teams, ", "))
	}
	return people.String()
}

// The story of team permissions: whatever the order of the teams, the person
// has exactly what both sound ones give.
func teamsShareAzure(t *testing.T, w *world, f *azuretest.Fake) {
	const at = "/api/azure/prod"
	one := func(verb, group string) string {
		return at + "/containerinstances/containergroup/" + verb + "?containerGroup=web&resourceGroup=" + group
	}
	for _, order := range teamOrders {
		u := w.as(t, "u"+order)
		var list struct {
			ContainerGroups []struct{ ResourceGroup, Name string }
			Errors          []any
		}
		for _, query := range []string{"", "?resourceGroup=rg1&resourceGroup=rg2&resourceGroup=rg3"} {
			u.get(at+"/containerinstances/containergroups"+query).json(t, &list)
			seen := map[string]int{}
			for _, g := range list.ContainerGroups {
				seen[g.ResourceGroup]++
			}
			if len(seen) != 2 || seen["rg1"] != 3 || seen["rg2"] != 3 || list.Errors != nil {
				t.Errorf("%s: %q shows %v, %v", order, query, seen, list.Errors)
			}
		}
		for path, status := range map[string]int{
			one("details", "rg1"): 200, one("details", "rg2"): 200, one("details", "rg3"): 403,
			at + "/kubernetesservices/managedclusters": 403, at + "/costmanagement/actualcost": 403,
			at + "/monitor/metricdefinitions?resourceGroup=rg1&provider=Microsoft.ContainerInstance/containerGroups/web": 403,
		} {
			if got := u.get(path); got.status != status {
				t.Errorf("%s: %s: %v", order, path, got)
			}
		}
		for group, status := range map[string]int{"rg1": 403, "rg2": 202, "RG2": 202, "rg3": 403, "rg9": 403} {
			if got := u.put(one("restart", group)); got.status != status {
				t.Errorf("%s: restart in %s: %v", order, group, got)
			}
		}
		if got := u.get(at + "/resourcegroups"); strings.Count(got.body, `"location"`) != 2 || strings.Contains(got.body, "rg3") {
			t.Errorf("%s: resource groups: %v", order, got)
		}
	}
	f.Forget()
	vic := w.as(t, "vic")
	for _, path := range []string{"/resourcegroups", "/containerinstances/containergroups", "/costmanagement/actualcost"} {
		if got := vic.get(at + path); got.status != 403 {
			t.Errorf("a viewer of no team: %s: %v", path, got)
		}
	}
	if seen := f.Requests(); len(seen) != 0 {
		t.Errorf("Azure was asked for somebody without rights: %v", seen)
	}
}

// personOfDev are somebody who may read the instance dev alone, and a viewer of
// no team.
const personOfDev = `---
apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: dee}
spec:
  id: dee@example.com
  roles: [viewer]
  permissions: {plugins: [{name: azure, custom: [{resources: ["*"], resourceGroups: ["*"], verbs: [get], instances: [dev]}]}]}
---
apiVersion: bulkhead.internal/v1
kind: User
metadata: {name: vic}
spec: {id: vic@example.com, roles: [viewer]}
`

// An instance is a name that policy knows: one that is not there looks like one
// that is forbidden, to somebody who may not see it.
func instanceIsAName(t *testing.T, w *world, _ *azuretest.Fake) {
	dee, ada := w.as(t, "dee"), w.as(t, "ada")
	body := func(a answer) string {
		var e struct{ Error, Detail string }
		a.json(t, &e)
		return strings.NewReplacer("prod", "X", "nowhere", "X").Replace(e.Error + ": " + e.Detail)
	}
	if got := dee.get("/api/azure/dev/resourcegroups"); got.status != 200 {
		t.Errorf("dev: %v", got)
	}
	forbidden, absent := dee.get("/api/azure/prod/resourcegroups"), dee.get("/api/azure/nowhere/resourcegroups")
	if forbidden.status != 403 || absent.status != 403 || body(forbidden) != body(absent) {
		t.Errorf("prod: %v\nnowhere: %v", forbidden, absent)
	}
	expect(t, ada.get("/api/azure/nowhere/resourcegroups"), 404, "the instance does not exist")
	if got := ada.get("/api/azure/no%2fwhere/resourcegroups"); got.status != 400 {
		t.Errorf("an ambiguous instance: %v", got)
	}
}

func logoutEndsThePoll(t *testing.T, w *world, f *azuretest.Fake) {
	ada := w.as(t, "ada")
	f.Hold()
	var begun, now struct{ Status, ID string }
	ada.put("/api/azure/prod"+azureRoutes["container-group-restart"].path).json(t, &begun)
	f.Forget()
	polled := make(chan answer, 1)
	go func() {
		got, err := ada.try(context.Background(), "GET", "/api/azure/prod/changes?wait=20&id="+urlEscape(begun.ID), nil, nil)
		if err != nil {
			t.Error(err)
		}
		polled <- got
	}()
	eventually(t, "Azure to be asked", func() bool { return len(f.Requests()) > 0 })
	if got := ada.post("/auth/logout", "{}"); got.status != 200 {
		t.Fatalf("logout: %v", got)
	}
	select {
	case got := <-polled:
		if got.status != 401 {
			t.Errorf("the poll: %v", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the poll goes on")
	}
	asked := len(f.Requests())
	f.Release()
	again := w.as(t, "ada")
	if now := len(f.Requests()); now != asked {
		t.Errorf("Azure was asked %d times after the logout", now-asked)
	}
	eventually(t, "the restart to end", func() bool {
		again.get("/api/azure/prod/changes?wait=5&id="+urlEscape(begun.ID)).json(t, &now)
		return now.Status == "Succeeded"
	})
}

func azuresErrors(t *testing.T, w *world, f *azuretest.Fake) {
	ada := w.as(t, "ada")
	for _, c := range []struct {
		fault  azuretest.Fault
		status int
	}{
		{azuretest.Fault{Status: 401, Code: "InvalidAuthenticationToken"}, 502},
		{azuretest.Fault{Status: 403, Code: "AuthorizationFailed", Message: "No role."}, 403},
		{azuretest.Fault{Status: 404, Code: "ResourceNotFound", Message: "Not there."}, 404},
		{azuretest.Fault{Status: 409, Code: "Conflict", Message: "Busy."}, 409},
		{azuretest.Fault{Status: 429, Code: "TooManyRequests", Message: "Slow down.", RetryAfter: "600"}, 429},
		{azuretest.Fault{Status: 500, Code: "InternalServerError", Message: "Oh."}, 502},
		{azuretest.Fault{Drop: true}, 503},
	} {
		f.Forget()
		f.Fail(c.fault)
		got := ada.get("/api/azure/prod" + azureRoutes["container-group"].path)
		f.Heal()
		var e struct{ Error, Detail, RequestID string }
		got.json(t, &e)
		if got.status != c.status || e.Error == "" || e.RequestID == "" || !strings.Contains(e.Detail, c.fault.Code) || !strings.Contains(e.Detail, "correlation id ") {
			t.Errorf("%+v: %v", c.fault, got)
		}
		if c.status == 429 && got.header.Get("Retry-After") != "600" {
			t.Errorf("Retry-After is %q, and Azure said 600", got.header.Get("Retry-After"))
		}
	}
}

func searchSecrets(t *testing.T, where, text string) {
	t.Helper()
	for _, secret := range []string{azuretest.Secret, "fake-token-"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in %s", secret, where)
		}
	}
}

// noSecretIsAnswered asks every route once more, and without a token that
// counts. It leaves the instances without one.
func noSecretIsAnswered(t *testing.T, w *world, f *azuretest.Fake) {
	ada := w.as(t, "ada")
	for _, route := range azureManifest(t).Routes {
		if r, ok := azureRoutes[route.Name]; ok {
			got := ada.do(route.Method, "/api/azure/prod"+r.path, nil, scripted)
			searchSecrets(t, "the answer of "+route.Name, fmt.Sprint(got, got.header))
		}
	}
	if err := os.WriteFile(f.SecretFile, []byte("wrong-"+azuretest.Secret), 0o600); err != nil {
		t.Fatal(err)
	}
	f.Expire()
	for _, instance := range []string{"prod", "dev"} {
		got := ada.get("/api/azure/" + instance + "/resourcegroups")
		if got.status != 502 {
			t.Errorf("%s without a token: %v", instance, got)
		}
		searchSecrets(t, "the answer without a token", got.body)
	}
}

// noSecretIsKept searches the log of all the stories, everything in the data
// directory, and the configuration as it is printed. host/plugin searches the
// guest's memory.
func noSecretIsKept(t *testing.T, w *world, logged *logtest.Log) {
	searchSecrets(t, "the log", logged.String())
	if !strings.Contains(logged.String(), "azure request") {
		t.Error("the log does not mention Azure")
	}
	files := 0
	err := filepath.WalkDir(filepath.Join(w.dir, "data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		searchSecrets(t, path, string(data))
		return nil
	})
	if err != nil || files == 0 {
		t.Errorf("%d files searched, %v", files, err)
	}
	printed, err := w.server.first.YAML()
	if err != nil {
		t.Fatal(err)
	}
	searchSecrets(t, "the printed configuration", string(printed))
}

// BenchmarkAzureRoute measures each route of the azure plugin, over HTTP and
// against a local Azure, whose share is in it; the size of the guest is beside
// it.
func BenchmarkAzureRoute(b *testing.B) {
	f := azuretest.Start(b)
	w := onAzure(b, f, "", slog.New(slog.DiscardHandler))
	ada := w.as(b, "ada")
	info, err := os.Stat(packtest.Build(b, "plugins/azure"))
	if err != nil {
		b.Fatal(err)
	}
	for _, route := range azureManifest(b).Routes {
		r, ok := azureRoutes[route.Name]
		if !ok {
			continue
		}
		b.Run(route.Name, func(b *testing.B) {
			ada.t = b
			for b.Loop() {
				if got := ada.do(route.Method, "/api/azure/prod"+r.path, nil, scripted); got.status > 299 {
					b.Fatal(got)
				}
			}
			b.ReportMetric(float64(info.Size())/(1<<20), "guest-MiB")
		})
	}
}
