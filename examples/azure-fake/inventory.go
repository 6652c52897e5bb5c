package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
)

// inventory is what there is: three resource groups with the same things in
// each. It keeps what changes: which things are stopped, how often they were
// restarted.
type inventory struct {
	polls int

	mu       sync.Mutex
	stopped  map[string]bool // by id in lower case
	restarts map[string]int32
}

func newInventory(polls int) *inventory {
	return &inventory{polls: polls, stopped: map[string]bool{}, restarts: map[string]int32{}}
}

var groupNames = []string{"rg1", "rg2", "rg3"}

const pageSize = 2

var created = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func knownGroup(name string) (string, bool) {
	for _, g := range groupNames {
		if strings.EqualFold(g, name) {
			return g, true
		}
	}
	return "", false
}

// locate checks a resource's group and name, and returns its id.
func locate(group, provider, name string, names []string, e *azfake.ErrorResponder) (id string, ok bool) {
	g, ok := knownGroup(group)
	if !ok {
		e.SetResponseError(404, "ResourceGroupNotFound")
		return "", false
	}
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return idOf(g, provider, n), true
		}
	}
	e.SetResponseError(404, "ResourceNotFound")
	return "", false
}

func idOf(group, provider, name string) string {
	return fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/%s/%s", subscription, group, provider, name)
}

func groupOfID(id string) string { return strings.Split(id, "/")[4] }

func (i *inventory) set(id string, stopped bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.stopped[strings.ToLower(id)] = stopped
}

func (i *inventory) isStopped(id string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.stopped[strings.ToLower(id)]
}

func (i *inventory) restart(id string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.restarts[strings.ToLower(id)]++
}

func (i *inventory) restartsOf(id string) int32 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.restarts[strings.ToLower(id)]
}

// paged adds items to a pager, some to a page.
func paged[T, R any](p *azfake.PagerResponder[R], items []T, page func([]T) R) {
	for {
		n := min(pageSize, len(items))
		p.AddPage(200, page(items[:n]), nil)
		if items = items[n:]; len(items) == 0 {
			return
		}
	}
}

// pagedIn is paged for the items of one resource group, which must exist.
func pagedIn[T, R any](p *azfake.PagerResponder[R], group string, names []string, each func(group, name string) T, page func([]T) R) {
	if _, ok := knownGroup(group); !ok {
		p.AddResponseError(404, "ResourceGroupNotFound")
		return
	}
	paged(p, all(group, names, each), page)
}

// begun makes an operation that succeeds after some polls. The fake servers
// take one status for all of its answers.
func begun[R any](i *inventory, p *azfake.PollerResponder[R], status int, result R) {
	for range i.polls {
		p.AddNonTerminalResponse(status, nil)
	}
	p.SetTerminalResponse(status, result, nil)
}

// all makes the things of every group, or of one.
func all[T any](group string, names []string, each func(group, name string) T) []T {
	var list []T
	for _, g := range groupNames {
		if group != "" && !strings.EqualFold(g, group) {
			continue
		}
		for _, n := range names {
			list = append(list, each(g, n))
		}
	}
	return list
}

func (i *inventory) listGroups(*armresources.ResourceGroupsClientListOptions) (p azfake.PagerResponder[armresources.ResourceGroupsClientListResponse]) {
	var list []*armresources.ResourceGroup
	for _, g := range groupNames {
		list = append(list, &armresources.ResourceGroup{
			ID: to.Ptr("/subscriptions/" + subscription + "/resourceGroups/" + g), Name: to.Ptr(g), Location: to.Ptr("westeurope"),
			Type: to.Ptr("Microsoft.Resources/resourceGroups"), Tags: map[string]*string{"team": to.Ptr("team-" + g)},
			Properties: &armresources.ResourceGroupProperties{ProvisioningState: to.Ptr("Succeeded")},
		})
	}
	paged(&p, list, func(l []*armresources.ResourceGroup) armresources.ResourceGroupsClientListResponse {
		return armresources.ResourceGroupsClientListResponse{ResourceGroupListResult: armresources.ResourceGroupListResult{Value: l}}
	})
	return p
}
