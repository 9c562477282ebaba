// Package examples holds programs that show how the library is put together: the lab, a command line, a server.
package examples
