// libkflow.so is made of the archives of kflow::runtime and kflow::kflow as a whole: a library
// needs one file of its own.
