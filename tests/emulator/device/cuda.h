#pragma once  // all is in emulated.h
