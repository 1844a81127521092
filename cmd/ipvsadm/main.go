// Command ipvsadm is ipvsadm(8) for a Dirigo director: it speaks to the one that serves
// the control socket. Under the names ipvsadm-save and ipvsadm-restore it is those.
package main

import (
	"os"

	"github.com/dirigo-lb/dirigo/control/api"
)

func main() { os.Exit(api.Ipvsadm(os.Args)) }
