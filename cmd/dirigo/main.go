// Command dirigo is a userspace LVS director: it balances TCP and UDP connections over
// real servers by NAT, direct routing or tunnels, as Linux IPVS does.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/dirigo-lb/dirigo/conf"
)

// version is set at build time: -ldflags "-X main.version=1.2.3".
var version = "0.1-dev"

func main() {
	if err := root().Execute(); err != nil {
		fmt.Fprintf(os.Stderr, "dirigo: %v\n", err)
		if e := (*exitError)(nil); errors.As(err, &e) {
			os.Exit(e.status)
		}
		os.Exit(1)
	}
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "dirigo",
		Short:         "A userspace LVS director",
		Long:          "Dirigo directs connections to virtual services over real servers, by NAT, direct routing\nor tunnels, with the schedulers and the behaviour of Linux IPVS. It needs no kernel module.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.CompletionOptions.HiddenDefaultCmd = true
	cmd.AddCommand(runCommand(), checkCommand(), replayCommand(), importCommand(), reloadCommand(), guardCommand(), versionCommand())
	cmd.AddCommand(configCommand(), ipvsadmCommand())
	cmd.AddCommand(realserverCommand())
	cmd.AddCommand(traceCommand(), captureCommand(), drainCommand(), undrainCommand(), statusCommand(), connsCommand(), topCommand())
	cmd.AddCommand(healthCommand(), demoCommand())
	cmd.AddCommand(sysctlCommand())
	return cmd
}

// controlFlag adds --control, whose default is $DIRIGO_CONTROL or the built-in path.
func controlFlag(cmd *cobra.Command) *string {
	path := os.Getenv("DIRIGO_CONTROL")
	if path == "" {
		path = conf.DefaultControl
	}
	return cmd.Flags().String("control", path, "control socket of the director, or its address like https://192.0.2.1:9443 (environment: DIRIGO_CONTROL; there DIRIGO_TOKEN, DIRIGO_CA, DIRIGO_CERT, DIRIGO_KEY)")
}
