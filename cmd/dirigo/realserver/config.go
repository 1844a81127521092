package realserver

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Defaults of Config.
const (
	DefaultTUN   = "dirigo-decap"
	DefaultState = "/run/dirigo" // directory of the state file
)

// Config is what a real server is to have.
type Config struct {
	VIPs       []netip.Addr
	Interfaces []string // where ARP is asked; empty: those of the default routes, else all that have IPv4 addresses
	Decap      bool     // take tunnel headers off
	TUN        string   // name of the device through which the inner packets enter the host
	GUEPort    uint16   // UDP port of GUE, host byte order; 0: none
	State      string   // directory of the state file
}

// ifNameMax is IFNAMSIZ of linux/if.h without the final 0.
const ifNameMax = 15

// Validate says what is wrong with c.
func (c *Config) Validate() error {
	if len(c.VIPs) == 0 {
		return errors.New("--vip is required: the address of the virtual service")
	}
	for i, a := range c.VIPs {
		switch {
		case !a.IsValid() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() || a.Zone() != "":
			return fmt.Errorf("--vip %v: not an address that a virtual service can have", a)
		case a.Is4In6():
			return fmt.Errorf("--vip %v: write it as %v", a, a.Unmap())
		case slices.Contains(c.VIPs[:i], a):
			return fmt.Errorf("--vip %v: given twice", a)
		}
	}
	// The kernel refuses slashes and spaces (dev_valid_name) and would put a number for %d.
	if c.Decap && (c.TUN == "" || len(c.TUN) > ifNameMax || strings.Trim(c.TUN, ".") == "" || strings.ContainsAny(c.TUN, "/:% \t\n")) {
		return fmt.Errorf("--tun %q: want a name of an interface, 1 to %d characters", c.TUN, ifNameMax)
	}
	if c.GUEPort != 0 && !c.Decap {
		return errors.New("--gue-port needs --decap")
	}
	return nil
}

// has4 reports whether there is an IPv4 VIP. IPv6 needs no sysctl: a neighbour
// solicitation is answered only for addresses of the interface it came in by.
func (c *Config) has4() bool { return slices.ContainsFunc(c.VIPs, netip.Addr.Is4) }

func (c *Config) has6() bool { return slices.ContainsFunc(c.VIPs, netip.Addr.Is6) }
