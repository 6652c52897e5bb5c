package azure_test

import (
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/sdk/azure"
	"github.com/seed-a3fb47d6/bulkhead/sdk/internal/guesttest"
)

// What is read is a struct of your own, with the fields that you need.
func ExampleInstance_Get() {
	defer guesttest.Answer(`{"name": "web", "properties": {"provisioningState": "Succeeded", "osType": "Linux"}}`)()

	var group struct {
		Name       string
		Properties struct{ ProvisioningState string }
	}
	at := azure.Resource{Group: "shop", Type: azure.ContainerGroups, Name: "web"}
	if err := azure.Instance("prod").Get(at, &group); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(group.Name, group.Properties.ProvisioningState)
	// Output: web Succeeded
}
