package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/dirigo-lb/dirigo/control/api"
)

func ipvsadmCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ipvsadm [ARGUMENT...]",
		Short: "ipvsadm(8) for the running director",
		Long: `ipvsadm(8) for the running director: the same options, listings, messages and exit codes.
It is a program of its own too; "dirigo ipvsadm" is for where there is only this binary.
The socket is that of DIRIGO_CONTROL, or the default one.`,
		Example:            "  dirigo ipvsadm -Ln --stats\n  dirigo ipvsadm -a -t 192.0.2.1:80 -r 10.0.0.3:80 -m -w 2\n  dirigo ipvsadm -Sn > rules; dirigo ipvsadm -R < rules",
		DisableFlagParsing: true,
		Run:                func(_ *cobra.Command, args []string) { os.Exit(api.Ipvsadm(append([]string{"ipvsadm"}, args...))) },
	}
}
