// The one file that compiles the bodies of Asio and Beast, whose warnings are not ours.
#pragma GCC system_header
#include <boost/asio/impl/src.hpp>
#include <boost/beast/src.hpp>
