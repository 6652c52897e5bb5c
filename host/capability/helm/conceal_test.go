package helm

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/release"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

func TestKeysThatNameASecret(t *testing.T) {
	for key, want := range map[string]bool{
		"password": true, "dbPassword": true, "DB_PASSWD": true, "api-key": true, "apiToken": true, "clientSecret": true, "secretKey": true,
		"aws_secret_access_key": true, "secrets": true, "credentials": true, "passwords": true, "tls.privateKey": true, "pwd": true,
		"secretName": false, "existingSecret": false, "existingSecretPasswordKey": false, "imagePullSecrets": false, "tokenRef": false,
		"passwordFile": false, "tokenTTL": false, "secretAnnotations": false, "image": false, "key": false, "author": false, "replicas": false,
	} {
		if got := secretKey(key); got != want {
			t.Errorf("%q: %v", key, got)
		}
	}
}

const declared = `---
# Source: x/templates/secret.yaml
apiVersion: v1
kind: Secret
metadata:
  name: web
data:
  cert: UE0tc2VjcmV0LWNlcnQ=
stringData:
  config: |
    host=db.shop pass=hunter-2222
  pin: "4711"
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: web
data:
  copied: PM-secret-cert
  plain: hello
`

func TestSecretsOfAReleaseAreHiddenWhereverTheyOccur(t *testing.T) {
	rel := &release.Release{Manifest: declared, Hooks: []*release.Hook{{Manifest: "apiVersion: v1\nkind: Secret\nmetadata: {name: h}\nstringData: {k: from-the-hook}\n"}}}
	c, err := newConcealer(rel)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{
		"cert": "PM-secret-cert", "db": map[string]any{"key/1": "hunter-2222", "host": "db"}, "list": []any{"x", "from-the-hook"},
		"pin": float64(4711), "password": "short", "replicas": 2.0, "message": "hello", "passwordFile": "/run/x", "token": map[string]any{"a": "b", "on": true},
	}
	got, at := c.values(values)
	if want := []string{"/cert", "/db/key~11", "/list/1", "/password", "/pin", "/token/a"}; !slices.Equal(at, want) {
		t.Errorf("hidden are %v, want %v", at, want)
	}
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"PM-secret", "hunter", "from-the-hook", "4711", "short"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("%q is in %s", secret, text)
		}
	}
	if values["password"] != "short" {
		t.Error("the release's own values were changed")
	}
	if notes := c.text("run: login from-the-hook and UE0tc2VjcmV0LWNlcnQ="); notes != "run: login <redacted> and <redacted>" {
		t.Errorf("the notes are %q", notes)
	}
	for _, o := range objectsOf(declared) {
		text := c.object(&o, nil)
		if strings.Contains(text, "PM-secret") || strings.Contains(text, "hunter") || strings.Contains(text, "4711") || !strings.Contains(text, "name: web") {
			t.Errorf("the document is %s", text)
		}
	}
}

func TestADifferenceShowsThatASecretChangedAndNotItsValue(t *testing.T) {
	after := strings.NewReplacer("4711", "4712", "hello", "hi", "hunter-2222", "hunter-2222").Replace(declared) +
		"---\napiVersion: v1\nkind: Service\nmetadata: {name: new}\n"
	before := declared + "---\napiVersion: v1\nkind: Service\nmetadata: {name: old}\n"
	c, err := newConcealer(&release.Release{Manifest: before}, &release.Release{Manifest: after})
	if err != nil {
		t.Fatal(err)
	}
	got, err := diff(t.Context(), before, after, c)
	if err != nil {
		t.Fatal(err)
	}
	var changes []string
	all := ""
	for _, o := range got {
		changes = append(changes, o.Change+" "+o.Kind+" "+o.Name)
		all += o.Diff
	}
	if want := []string{"changed Secret web", "changed ConfigMap web", "added Service new", "removed Service old"}; !slices.Equal(changes, want) {
		t.Errorf("changes are %q", changes)
	}
	if strings.Contains(all, "471") || !strings.Contains(all, "-  pin: <redacted>\n+  pin: <redacted, changed>") ||
		!strings.Contains(all, "-  plain: hello\n+  plain: hi\n") || strings.Contains(all, "+  config") {
		t.Errorf("the difference is\n%s", all)
	}
	plain, err := diff(t.Context(), before, after, nil)
	if err != nil || !strings.Contains(plain[0].Diff, `+  pin: "4712"`) {
		t.Errorf("without hiding: %+v, %v", plain, err)
	}
	if same, err := diff(t.Context(), before, before, c); err != nil || len(same) != 0 {
		t.Errorf("nothing changed: %+v, %v", same, err)
	}
}

func TestADocumentThatCannotBeReadIsHiddenWhole(t *testing.T) {
	c, err := newConcealer(&release.Release{})
	if err != nil {
		t.Fatal(err)
	}
	o := objectsOf("kind: Secret\nstringData: {a: [unclosed\n")
	if len(o) != 1 || strings.Contains(c.object(&o[0], nil), "unclosed") || !c.hidden {
		t.Errorf("shows %q", c.object(&o[0], nil))
	}
}

func TestTooManySecretsToHideAreRefused(t *testing.T) {
	big := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 700<<10)))
	doc := "---\napiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {k: " + big + "}\n"
	_, err := newConcealer(&release.Release{Manifest: doc + strings.Replace(doc, big, big[4:], 1)})
	if host.KindOf(err) != host.Unprocessable {
		t.Errorf("got %v", err)
	}
}

func FuzzConcealing(f *testing.F) {
	f.Add(declared, "hunter-2222")
	f.Fuzz(func(t *testing.T, manifest, value string) {
		c, err := newConcealer(&release.Release{Manifest: manifest})
		if err != nil {
			return
		}
		hidden, _ := c.values(map[string]any{"x": value})
		for s := range c.secrets {
			if len(s) >= leastInside && s != hiddenText && strings.Contains(hidden["x"].(string), s) && !strings.Contains(hiddenText, s) {
				t.Fatalf("%q is in %q", s, hidden["x"])
			}
		}
	})
}
