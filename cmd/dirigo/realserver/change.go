package realserver

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// Change is one thing the host lacked: a sysctl's value, or an address on lo.
type Change struct {
	Sysctl  string       `json:"sysctl,omitempty"` // below net, with slashes: "ipv4/conf/all/arp_ignore"
	Was     string       `json:"was,omitempty"`
	Want    string       `json:"want,omitempty"`
	Address netip.Prefix `json:"address,omitzero"`
}

// need is a sysctl of each interface and of "all", of which the greater value counts.
type need struct {
	name, want string
	good       []string // values that serve as well and are left alone
}

// ARP must not be answered for what is not on the receiving interface, and a query must
// not name the VIP as its sender: Linux Documentation/networking/ip-sysctl.rst.
// arp_ignore 3 would answer, as an address on lo has global scope; 8 never answers.
var needs = []need{
	{"arp_ignore", "1", []string{"1", "2", "8"}},
	{"arp_announce", "2", []string{"2"}},
}

// view is what plan has to know of the host.
type view struct {
	interfaces []string // to keep from answering
	loopback   []netip.Prefix
	answering  map[netip.Addr]string // addresses on interfaces that use ARP or NDP, with the interface
	sysctl     func(key string) (string, error)
}

// plan lists what is to be changed, in order: nobody must answer for a VIP, so it comes
// last.
func plan(c *Config, v *view) (list []Change, err error) {
	for _, a := range c.VIPs {
		if dev := v.answering[a]; dev != "" {
			return nil, fmt.Errorf("%v is configured on %s, which would answer for it: a real server has it on lo only", a, dev)
		}
	}
	if c.has4() {
		for _, dev := range append([]string{"all"}, v.interfaces...) {
			for _, n := range needs {
				key := "ipv4/conf/" + dev + "/" + n.name
				was, err := v.sysctl(key)
				if errors.Is(err, os.ErrNotExist) {
					return nil, fmt.Errorf("interface %s: no such interface", dev)
				}
				if err != nil {
					return nil, err
				}
				if !slices.Contains(n.good, was) {
					list = append(list, Change{Sysctl: key, Was: was, Want: n.want})
				}
			}
		}
	}
	for _, a := range c.VIPs {
		if p := netip.PrefixFrom(a, a.BitLen()); !slices.Contains(v.loopback, p) {
			list = append(list, Change{Address: p})
		}
	}
	return list, nil
}

// Shell is the command that makes the change.
func (c *Change) Shell() string {
	if c.Sysctl != "" {
		return setSysctl(c.Sysctl, c.Want)
	}
	return addressCommand("add", c.Address)
}

// UndoShell is the command that takes it back.
func (c *Change) UndoShell() string {
	if c.Sysctl != "" {
		return setSysctl(c.Sysctl, c.Was)
	}
	return addressCommand("del", c.Address)
}

func (c *Change) String() string {
	if c.Sysctl != "" {
		return fmt.Sprintf("%s = %s (was %s)", sysctlName(c.Sysctl), c.Want, c.Was)
	}
	return fmt.Sprintf("%v on lo", c.Address)
}

func setSysctl(key, value string) string {
	return "sysctl -w " + sysctlName(key) + "=" + value
}

// sysctlName is the name with dots, unless an interface's name has one: sysctl(8) then
// takes slashes.
func sysctlName(key string) string {
	if strings.Contains(key, ".") {
		return "net/" + key
	}
	return "net." + strings.ReplaceAll(key, "/", ".")
}

func addressCommand(verb string, p netip.Prefix) string {
	if p.Addr().Is4() {
		return fmt.Sprintf("ip addr %s %v dev lo", verb, p)
	}
	line := fmt.Sprintf("ip -6 addr %s %v dev lo", verb, p)
	if verb == "add" {
		line += " nodad"
	}
	return line
}
