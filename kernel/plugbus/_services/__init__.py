"""The rooms behind ``plugbus.services``; nothing here is public but what that module exports."""
