package azure

import (
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"

	_ "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm/runtime" // fills in Resource Manager's endpoints

	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/dnsname"
)

// Config is one subscription, with the name that users and policy use.
type Config struct {
	Name         string `json:"name"`         // a DNS label
	Subscription string `json:"subscription"` // its id
	// Tenant is the Microsoft Entra tenant's id or domain. It is optional if the
	// environment names it (workload) or it is not needed (managed, cli).
	Tenant string `json:"tenant,omitempty"`
	// Credential is how the host authenticates: workload, managed, secret, certificate
	// or, for development, cli.
	Credential            string `json:"credential"`
	ClientID              string `json:"clientID,omitempty"`              // of the application or the user-assigned identity
	ClientSecretFile      string `json:"clientSecretFile,omitempty"`      // for secret
	ClientCertificateFile string `json:"clientCertificateFile,omitempty"` // for certificate: PEM or PKCS #12 with the private key
	TokenFile             string `json:"tokenFile,omitempty"`             // for workload; default AZURE_FEDERATED_TOKEN_FILE
	Cloud                 Cloud  `json:"cloud,omitzero"`                  // which Azure; public if absent
}

// Cloud is one of Azure's clouds, by its name, or another cloud, by its addresses.
type Cloud struct {
	Name      string `json:"name,omitempty"`      // public (default), government, china
	Endpoint  string `json:"endpoint,omitempty"`  // of Azure Resource Manager; https
	Authority string `json:"authority,omitempty"` // of Microsoft Entra; https
	Audience  string `json:"audience,omitempty"`  // of tokens; default: the endpoint
	CAFile    string `json:"caFile,omitempty"`    // PEM, instead of the system's roots
}

// UnmarshalJSON also accepts a name alone.
func (c *Cloud) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, &c.Name)
	}
	type plain Cloud
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	return d.Decode((*plain)(c))
}

// MarshalJSON writes a name alone if no other field is set.
func (c Cloud) MarshalJSON() ([]byte, error) {
	if c == (Cloud{Name: c.Name}) {
		return json.Marshal(c.Name)
	}
	type plain Cloud
	return json.Marshal(plain(c))
}

// Paths are the fields that name files.
func (c *Config) Paths() []*string {
	return []*string{&c.ClientSecretFile, &c.ClientCertificateFile, &c.TokenFile, &c.Cloud.CAFile}
}

var (
	uuidRE = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	clouds = map[string]cloud.Configuration{
		"": cloud.AzurePublic, "public": cloud.AzurePublic, "government": cloud.AzureGovernment, "china": cloud.AzureChina,
	}
)

// CheckConfigs adds everything that is wrong to bad, which is at the list. Nothing is
// opened.
func CheckConfigs(bad *config.Problems, list []Config) {
	seen := map[string]bool{}
	for i := range list {
		c := &list[i]
		bad := bad.Index("", i)
		if !dnsname.IsLabel(c.Name) || seen[c.Name] {
			bad.Add("name", "%q is not a lower-case DNS label, or is used twice", c.Name)
		}
		seen[c.Name] = true
		if !uuidRE.MatchString(c.Subscription) {
			bad.Add("subscription", "%q is not the id of a subscription", c.Subscription)
		}
		c.checkCredential(bad)
		c.Cloud.check(bad.At("cloud"))
	}
}

// needs are the fields of each kind of credential; true if the field is required.
var needs = map[string]map[string]bool{
	"workload":    {"tenant": false, "clientID": false, "tokenFile": false},
	"managed":     {"tenant": false, "clientID": false},
	"secret":      {"tenant": true, "clientID": true, "clientSecretFile": true},
	"certificate": {"tenant": true, "clientID": true, "clientCertificateFile": true},
	"cli":         {"tenant": false},
}

func (c *Config) checkCredential(bad *config.Problems) {
	takes, ok := needs[c.Credential]
	if !ok {
		bad.Add("credential", "%q must be workload, managed, secret, certificate or cli", c.Credential)
		return
	}
	for _, f := range []struct{ field, value string }{
		{"tenant", c.Tenant}, {"clientID", c.ClientID}, {"clientSecretFile", c.ClientSecretFile},
		{"clientCertificateFile", c.ClientCertificateFile}, {"tokenFile", c.TokenFile},
	} {
		switch required, ok := takes[f.field]; {
		case !ok && f.value != "":
			bad.Add(f.field, "is not used with the credential %s; remove it", c.Credential)
		case required && f.value == "":
			bad.Add(f.field, "is required with the credential %s", c.Credential)
		}
	}
}

func (c *Cloud) check(bad *config.Problems) {
	custom := c.Endpoint != "" || c.Authority != "" || c.Audience != ""
	if _, ok := clouds[c.Name]; !ok || custom && c.Name != "" {
		bad.Add("", "must be public, government or china, or have an endpoint and an authority")
	}
	if !custom {
		return
	}
	for _, f := range []struct{ field, value string }{{"endpoint", c.Endpoint}, {"authority", c.Authority}} {
		u, err := url.Parse(f.value)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.User != nil || f.field == "endpoint" && strings.Trim(u.Path, "/") != "" {
			bad.Add(f.field, "%q is not an https URL", f.value)
		}
	}
}

// configuration returns the cloud in the SDK's form.
func (c *Cloud) configuration() cloud.Configuration {
	if c.Endpoint == "" {
		return clouds[c.Name]
	}
	audience := c.Audience
	if audience == "" {
		audience = strings.TrimRight(c.Endpoint, "/")
	}
	return cloud.Configuration{
		ActiveDirectoryAuthorityHost: c.Authority,
		Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: strings.TrimRight(c.Endpoint, "/"), Audience: audience},
		},
	}
}

func names(list []Config) []string {
	var out []string
	for i := range list {
		out = append(out, list[i].Name)
	}
	slices.Sort(out)
	return out
}
